//! Introspection (RFC 7662, RFC 9701).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use token_authority::domain::ids::RealmName;
use token_authority::verify::keys::{PublicKey, VerifyKey};

use crate::realm::{Realm, basic, secret};
use crate::wire::{get, send};

const INACTIVE: &str = r#"{"active":false}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_active_token_says_what_it_is() {
    let realm = Realm::start().await;
    let tokens = realm.login("ann").await;
    let answer = realm.post("gateway", "introspect", &[("token", &tokens.access_token)]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let said = answer.json();
    let expected = json!({
        "active": true, "iss": realm.issuer(), "sub": "ann", "aud": "orders", "client_id": "app",
        "scope": "read write", "token_type": "Bearer", "sid": tokens.session_id,
        "iat": 1_800_000_000, "exp": 1_800_000_900, "jti": said["jti"],
    });
    assert_eq!(said, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_token_answers_that_and_nothing_else() {
    let realm = Realm::start().await;
    let (expired, revoked) = (realm.login("ann").await, realm.login("bob").await);
    realm.server.revoke(&revoked.access_token).await;
    realm.server.pass(Duration::from_secs(901));
    let lives = realm.login("eve").await;
    let cut = &lives.access_token[..lives.access_token.len() - 4];
    for token in ["x", &expired.access_token, &revoked.access_token, &revoked.refresh_token, cut] {
        let answer = realm.post("gateway", "introspect", &[("token", token)]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, INACTIVE));
    }
    assert!(realm.is_active(&lives.access_token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_sees_tokens_for_its_audiences_only() {
    let realm = Realm::start().await;
    let (foreign, own) =
        (realm.login_for("ann", "app", &["mail"]).await, realm.login_for("ann", "app", &["mail", "stock"]).await);
    for (token, sees) in [
        (&foreign.access_token, false),
        (&own.access_token, true),
        // It is the app's, and for this issuer alone.
        (&own.refresh_token, false),
    ] {
        assert_eq!(realm.is_active(token).await, sees);
    }
    let answer = realm.post("gateway", "introspect", &[("token", &foreign.access_token)]).await;
    assert_eq!(answer.body, INACTIVE, "as a token that does not exist");
    // Who may see nothing is told so, whatever it asks about.
    let refused = (400, "unauthorized_client".to_owned());
    for token in [&own.access_token, "x"] {
        assert_eq!(realm.post("app", "introspect", &[("token", token)]).await.refusal(), refused);
    }
    let mine = realm.login_for("ann", "gateway", &["mail"]).await;
    let answer = realm.post("gateway", "introspect", &[("token", &mine.refresh_token)]).await.json();
    assert_eq!((&answer["active"], &answer["aud"]), (&json!(true), &json!(realm.issuer())));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_bounded_form_is_read() {
    let realm = Realm::start().await;
    let (to, header) = (realm.server.http(), basic("gateway", secret()));
    let headers = |kind: &'static str| [("Authorization", header.clone()), ("Content-Type", kind.to_owned())];
    let ask = async |method: &str, kind: &'static str, body: &str| {
        let headers = headers(kind);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        send(to, method, "/oauth2/introspect?token=x", &headers, body).await
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    assert_eq!(ask("POST", FORM, "token=x").await.status, 200);
    assert_eq!(ask("POST", FORM, "").await.refusal(), (400, "invalid_request".to_owned()), "not from the query");
    assert_eq!(ask("POST", FORM, "token=x&token=y").await.refusal(), (400, "invalid_request".to_owned()));
    assert_eq!(ask("POST", "application/json", "{\"token\":\"x\"}").await.refusal().0, 415);
    assert_eq!(ask("POST", FORM, &format!("token={}", "x".repeat(33 << 10))).await.refusal().0, 413);
    assert_eq!(ask("GET", FORM, "").await.status, 405);
    let cors = send(to, "OPTIONS", "/oauth2/introspect", &[("Origin", "https://evil.example")], "").await;
    assert_eq!(cors.header("access-control-allow-origin"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signed_answer_is_the_same_and_no_access_token() {
    let realm = Realm::start().await;
    let tokens = realm.login("ann").await;
    let header = basic("gateway", secret());
    let headers = [("Authorization", header.as_str()), ("Accept", "application/token-introspection+jwt, */*;q=0.1")];
    for token in [tokens.access_token.as_str(), "x"] {
        let plain = realm.post("gateway", "introspect", &[("token", token)]).await.json();
        let answer = realm.post_with(&headers, "introspect", &[("token", token)]).await;
        assert_eq!(answer.header("content-type"), Some("application/token-introspection+jwt"));
        let (input, signature) = answer.body.rsplit_once('.').expect("a signature");
        let part = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
        };
        let (header, claims) = input.split_once('.').map(|(header, claims)| (part(header), part(claims))).unwrap();
        assert_eq!(header["typ"], "token-introspection+jwt");
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(realm.issuer()), &json!("gateway")));
        assert_eq!((&claims["iat"], &claims["token_introspection"]), (&json!(1_800_000_000), &plain));

        let set = get(realm.server.http(), "/.well-known/jwks.json").await.json();
        let Value::Object(jwk) = &set["keys"][0] else { panic!("a key") };
        let key = VerifyKey::new(RealmName::parse("default").unwrap(), PublicKey::from_jwk(jwk).unwrap()).unwrap();
        assert_eq!(header["kid"], key.kid().as_str());
        assert!(key.verifies(input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()));
        assert!(!realm.is_active(&answer.body).await, "no access token");
    }
}
