//! Browser sessions: their tokens travel in cookies, and only the site itself may ask.

use std::time::Duration;

use token_authority::domain::ids::RealmName;
use token_authority::domain::rate_limit::RateLimit;

use crate::realm::Realm;
use crate::test_server::TestServer;
use crate::wire::{Answer, get, send};

async fn ask(realm: &Realm, path: &str, cookie: &str, more: &[(&str, &str)]) -> Answer {
    send(realm.server.http(), "POST", path, &[&[("Cookie", cookie)], more].concat(), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_and_ends_by_its_cookies() {
    let realm = Realm::start().await;
    let origin = realm.issuer();
    let own = [("Origin", origin.as_str())];
    let login = realm.login_for("ann", "browser", &["orders"]).await;
    let refresh = |token: &str| format!("__Secure-refresh_token={token}");
    let answer = ask(&realm, "/session/refresh", &refresh(&login.refresh_token), &own).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    assert_eq!(answer.body, r#"{"expires_in":900}"#, "no token where a script reads");
    let [access, next] = cookies(&answer);
    assert!(access.1.ends_with("; Path=/; Max-Age=900; Secure; HttpOnly; SameSite=Lax"), "{access:?}");
    assert!(next.1.ends_with("; Path=/session; Max-Age=604800; Secure; HttpOnly; SameSite=Strict"), "{next:?}");
    assert!(realm.is_active(&access.0).await);

    let both = format!("__Host-access_token={}; {}", access.0, refresh(&next.0));
    let answer = ask(&realm, "/session/logout", &both, &own).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert!(cookies(&answer).iter().all(|(value, rest)| value.is_empty() && rest.contains("Max-Age=0")));
    assert!(!realm.is_active(&access.0).await);
    let answer = ask(&realm, "/session/refresh", &refresh(&next.0), &own).await;
    assert_eq!(answer.refusal(), (400, "invalid_grant".to_owned()));
    assert!(cookies(&answer).iter().all(|(value, _)| value.is_empty()), "what is over is taken away");
    assert_eq!(ask(&realm, "/session/logout", "", &own).await.status, 204, "nothing is left to end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_a_sibling_set_keeps_no_session_from_its_end() {
    let realm = Realm::start().await;
    let own = [("Sec-Fetch-Site", "same-origin")];
    for (before, after) in [("", "; __Secure-refresh_token=x"), ("__Secure-refresh_token=x; ", "")] {
        let login = realm.login_for("ann", "browser", &["orders"]).await;
        let cookie = format!("{before}__Secure-refresh_token={}{after}; other=Jörg", login.refresh_token);
        assert_eq!(ask(&realm, "/session/logout", &cookie, &own).await.status, 204);
        assert!(!realm.is_active(&login.access_token).await, "{before:?} {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_can_ask_for_nothing() {
    let realm = Realm::start().await;
    let login = realm.login_for("ann", "browser", &["orders"]).await;
    let cookie = format!("__Secure-refresh_token={}; __Host-access_token={}", login.refresh_token, login.access_token);
    let origin = realm.issuer();
    for path in ["/session/refresh", "/session/logout"] {
        for more in [
            vec![("Origin", "https://evil.example")],
            vec![("Origin", "null")],
            vec![("Origin", origin.as_str()), ("Sec-Fetch-Site", "same-site")],
            vec![("Sec-Fetch-Site", "cross-site")],
            vec![],
        ] {
            let answer = ask(&realm, path, &cookie, &more).await;
            assert_eq!(answer.refusal(), (403, "access_denied".to_owned()), "{path} {more:?}");
            assert_eq!(answer.header("set-cookie"), None);
        }
        assert_eq!(get(realm.server.http(), path).await.status, 405, "POST only");
    }
    assert!(realm.is_active(&login.access_token).await);
    assert!(realm.server.refresh(&login.refresh_token).await.is_ok(), "nothing was used up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_clients_session_is_no_browsers() {
    let realm = Realm::start().await;
    let login = realm.login("ann").await;
    let cookie = format!("__Secure-refresh_token={}", login.refresh_token);
    let answer = ask(&realm, "/session/refresh", &cookie, &[("Sec-Fetch-Site", "same-origin")]).await;
    assert_eq!((answer.refusal(), answer.header("set-cookie")), ((400, "invalid_grant".to_owned()), None));
    assert!(realm.is_active(&login.access_token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refresh_cookie_goes_where_its_realm_is() {
    let server = TestServer::start_configured(|config| {
        let mut policy = config.realms[0].clone();
        policy.realm = RealmName::parse("web").expect("a realm");
        config.realms.push(policy);
        config.public_url = Some("https://shop.example/auth".to_owned());
    })
    .await;
    let own = [("Sec-Fetch-Site", "same-origin")];
    for (realm, path) in [("", "/auth/session"), ("/realms/web", "/auth/realms/web/session")] {
        let answer = send(server.http(), "POST", &format!("{realm}/session/logout"), &own, "").await;
        let [_, refresh] = cookies(&answer);
        assert!(refresh.1.starts_with(&format!("; Path={path};")), "{refresh:?}");
    }
}

/// Value and attributes of the access and the refresh cookie.
fn cookies(answer: &Answer) -> [(String, String); 2] {
    let cookies = answer.headers("set-cookie");
    ["__Host-access_token=", "__Secure-refresh_token="].map(|name| {
        let cookie = cookies.iter().find_map(|cookie| cookie.strip_prefix(name)).expect(name);
        let (value, rest) = cookie.split_at(cookie.find(';').expect("attributes"));
        (value.to_owned(), rest.to_owned())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refreshes_too_often_is_told_when_to_come_again_and_keeps_the_session() {
    let limit = RateLimit::new(1, Duration::from_millis(90_500));
    let server = TestServer::start_with(|policy| policy.rate_limits.refresh_by_subject = limit).await;
    let login = server.login("ann", "phone").await;
    let tokens = server.refresh(&login.refresh_token).await.expect("the first");
    let cookie = format!("__Secure-refresh_token={}", tokens.refresh_token);
    let headers = [("Cookie", cookie.as_str()), ("Sec-Fetch-Site", "same-origin")];
    let ask = async || send(server.http(), "POST", "/session/refresh", &headers, "").await;
    let answer = ask().await;
    assert_eq!(answer.refusal(), (429, "temporarily_unavailable".to_owned()));
    assert_eq!((answer.header("retry-after"), answer.headers("set-cookie").len()), (Some("91"), 0));
    server.pass(Duration::from_secs(91));
    assert_eq!(ask().await.status, 200);
}
