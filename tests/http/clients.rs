//! How clients prove themselves, and how they may not.

use serde_json::{Value, json};
use token_authority::domain::ids::RealmName;

use crate::realm::{Realm, assertion, basic, secret};
use crate::test_server::TestServer;
use crate::wire;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_taken_from_the_header_or_the_form() {
    let realm = Realm::start().await;
    let right = basic("gateway", secret());
    let both = [("token", "x"), ("client_id", "gateway"), ("client_secret", secret())];
    for (header, form) in [(Some(&right), &both[..1]), (None, &both[..]), (Some(&right), &both[..])] {
        let headers: Vec<_> = header.iter().map(|value| ("Authorization", value.as_str())).collect();
        let answer = realm.post_with(&headers, "introspect", form).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"active":false}"#), "{header:?} {form:?}");
    }
    let differing = [("token", "x"), ("client_id", "app")];
    let answer = realm.post_with(&[("Authorization", &right)], "introspect", &differing).await;
    assert_eq!(answer.refusal(), (400, "invalid_request".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_proves_nothing_gets_one_answer() {
    let realm = Realm::start().await;
    let wrong = [
        Some(basic("gateway", "tas_wrong_but_long_enough")),
        Some(basic("gateway", "")),
        Some(basic("nobody", secret())),
        Some(basic("service", secret())),
        Some(basic("", "")),
        Some("Bearer x".to_owned()),
        Some("Basic !".to_owned()),
        None,
    ];
    for endpoint in ["introspect", "revoke", "token"] {
        for header in &wrong {
            let headers: Vec<_> = header.iter().map(|value| ("Authorization", value.as_str())).collect();
            let answer = realm.post_with(&headers, endpoint, &[("token", "x"), ("grant_type", "x")]).await;
            assert_eq!(answer.refusal(), (401, "invalid_client".to_owned()), "{endpoint} {header:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"token-authority\""));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    let bare = TestServer::start().await;
    let headers = [("Authorization", basic("gateway", secret()))].map(|(name, value)| (name, value));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = wire::post(bare.http(), "/oauth2/introspect", &headers, &[("token", "x")]).await;
    assert_eq!(answer.refusal(), (401, "invalid_client".to_owned()), "a realm without clients");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_proves_its_client_once() {
    let realm = Realm::start().await;
    let now = 1_800_000_000;
    let claims = |audience: &str, id: &str| json!({ "iss": "service", "sub": "service", "aud": audience, "exp": now + 60, "jti": id });
    let token_endpoint = format!("{}/oauth2/token", realm.issuer());
    let ask = async |claims: &Value, id: Option<&str>| {
        let assertion = assertion(claims);
        let mut form = vec![("grant_type", "client_credentials"), ("client_assertion_type", JWT_BEARER)];
        form.push(("client_assertion", &assertion));
        form.extend(id.map(|id| ("client_id", id)));
        realm.post_with(&[], "token", &form).await
    };
    assert_eq!(ask(&claims(&realm.issuer(), "1"), None).await.status, 200);
    assert_eq!(ask(&claims(&token_endpoint, "2"), Some("service")).await.status, 200);
    let refused = (401, "invalid_client".to_owned());
    assert_eq!(ask(&claims(&realm.issuer(), "1"), None).await.refusal(), refused, "a replay");
    assert_eq!(ask(&claims("http://elsewhere", "3"), None).await.refusal(), refused, "for another server");
    assert_eq!(ask(&claims(&realm.issuer(), "4"), Some("app")).await.refusal(), refused, "another client");
    let foreign = json!({ "iss": "gateway", "sub": "gateway", "aud": realm.issuer(), "exp": now + 60, "jti": "5" });
    assert_eq!(ask(&foreign, None).await.refusal(), refused, "a key of another client");
    // After a restart too: the memory of an instance would forget.
    let issuer = realm.issuer();
    let server = realm.server.restart_configured(|config| {
        crate::realm::register(config);
        config.public_url = Some(issuer.clone());
    });
    let realm = Realm { server: server.await };
    let again = assertion(&claims(&issuer, "1"));
    let form =
        [("grant_type", "client_credentials"), ("client_assertion_type", JWT_BEARER), ("client_assertion", &again)];
    assert_eq!(realm.post_with(&[], "token", &form).await.refusal(), refused, "a replay after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_belongs_to_its_realm() {
    let server = TestServer::start_configured(|config| {
        crate::realm::register(config);
        let other = RealmName::parse("other").expect("a realm");
        let mut policy = config.realms[0].clone();
        policy.realm = other;
        config.realms.push(policy);
    })
    .await;
    let header = basic("gateway", secret());
    let headers = [("Authorization", header.as_str())];
    let ask = async |path: &str| wire::post(server.http(), path, &headers, &[("token", "x")]).await;
    assert_eq!(ask("/realms/default/oauth2/introspect").await.status, 200);
    assert_eq!(ask("/realms/other/oauth2/introspect").await.refusal(), (401, "invalid_client".to_owned()));
    assert_eq!(ask("/realms/nowhere/oauth2/introspect").await.refusal(), (404, "invalid_request".to_owned()));
}
