//! Web clients: tokens in cookies, and sessions that browsers refresh and end by themselves.

use super::AUDIENCE;
use crate::gateway;
use crate::protected::{COOKIE, Protected};
use crate::test_server::TestServer;
use crate::wire::{Answer, send};

pub(super) async fn a4_the_token_comes_from_the_header_or_a_cookie_and_the_header_wins(server: &TestServer) {
    let protected = Protected::start(server, AUDIENCE).await;
    let good = server.login("ann", "browser").await.access_token;
    let (bearer, cookie) = (format!("Bearer {good}"), format!("theme=dark; {COOKIE}={good}"));
    let (no_bearer, no_cookie) = ("Bearer x", format!("{COOKIE}=x"));
    let cases = [
        (Some(bearer.as_str()), None, 200),
        (None, Some(cookie.as_str()), 200),
        (Some(&bearer), Some(&no_cookie), 200),
        (Some(no_bearer), Some(&cookie), 401),
        (None, Some(&no_cookie), 401),
        (None, None, 401),
    ];
    for (header, cookie, status) in cases {
        let headers: Vec<_> =
            [("authorization", header), ("cookie", cookie)].into_iter().filter_map(|(n, v)| Some((n, v?))).collect();
        assert_eq!(protected.ask_http(&headers).await.0, status, "middleware: {headers:?}");
        assert_eq!(gateway::ask(server, &headers).await.0, status, "ext_authz: {headers:?}");
    }
}

pub(super) async fn a9_a_browser_refreshes_and_logs_out_with_cookies_alone(server: &TestServer) {
    const REFRESH: &str = "__Secure-refresh_token";
    let origin = format!("http://{}", server.http());
    let ask = async |path: &str, origin: &str, cookies: &str| {
        let headers = [("Origin", origin), ("Cookie", cookies)];
        send(server.http(), "POST", &format!("/realms/web-mobile/session/{path}"), &headers, "").await
    };
    let login = server.login("ann", "browser").await;
    // Whoever logs a browser in sets its first cookies.
    let jar = format!("{COOKIE}={}; {REFRESH}={}", login.access_token, login.refresh_token);
    for path in ["refresh", "logout"] {
        let answer = ask(path, "https://evil.example", &jar).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "another site's request");
    }

    let answer = ask("refresh", &origin, &jar).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (access, attributes) = cookie(&answer, COOKIE);
    assert_eq!(attributes, "; Path=/; Max-Age=900; Secure; HttpOnly; SameSite=Lax");
    let (refresh, attributes) = cookie(&answer, REFRESH);
    assert_eq!(attributes, "; Path=/realms/web-mobile/session; Max-Age=604800; Secure; HttpOnly; SameSite=Strict");
    assert!(!answer.body.contains(&access) && !answer.body.contains(&refresh), "no script reads them");
    let jar = format!("{COOKIE}={access}; {REFRESH}={refresh}");
    assert_eq!(gateway::ask(server, &[("cookie", &jar)]).await.0, 200);

    let answer = ask("logout", &origin, &jar).await;
    assert_eq!(answer.status, 204);
    for name in [COOKIE, REFRESH] {
        let (value, attributes) = cookie(&answer, name);
        assert!(value.is_empty() && attributes.contains("Max-Age=0"), "{name}{attributes}");
    }
    assert_eq!(gateway::ask(server, &[("cookie", &jar)]).await.0, 401);
    assert_eq!(ask("refresh", &origin, &jar).await.status, 400);
}

/// Value and attributes of a cookie that an answer sets.
fn cookie(answer: &Answer, name: &str) -> (String, String) {
    let set = answer.headers("set-cookie");
    let cookie = set.iter().find_map(|cookie| cookie.strip_prefix(name)?.strip_prefix('=')).expect(name);
    let (value, attributes) = cookie.split_at(cookie.find(';').expect("attributes"));
    (value.to_owned(), attributes.to_owned())
}
