//! The HTTP edge in a realm whose tokens name neither issuer, audience, client nor session, as a realm file
//! defines it.

use serde_json::json;
use tempfile::TempDir;
use token_authority::config::{Config, Environment, Flags};
use token_authority::proto::v1;
use token_authority::verify::client::SecretHash;

use crate::realm::{basic, secret};
use crate::test_server::TestServer;
use crate::wire;

const REALM: &str = r#"
    [realm]
    name = "plain"
    algorithm = "HS256"
    rotation = "off"
    audiences = ["api"]
    scopes = []
    default_client = "app"
    registered_claims = []
    subject_claim = "user_id"

    [realm.claims]
    role = { type = "string", required = true }

    [[realm.clients]]
    id = "app"
    secrets = ["SECRET"]
    grants = ["refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"]
    audiences = ["api"]
    roles = ["introspect"]
"#;

async fn start() -> TestServer {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("plain.toml");
    let hash = SecretHash::of(secret()).expect("long enough").to_string();
    std::fs::write(&file, REALM.replace("SECRET", &hash)).expect("writes");
    let flags = Flags { config: Some(file), ..Flags::default() };
    let read = Config::load(flags, &Environment::default()).expect("loads");
    TestServer::start_configured(|config| (config.realms, config.clients) = (read.realms, read.clients)).await
}

async fn login(server: &TestServer) -> v1::TokenPair {
    let role = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue("user".into())) };
    let claims = Some(prost_types::Struct { fields: [("role".to_owned(), role)].into() });
    let request = v1::IssueTokenRequest { realm: "plain".into(), subject: "ann".into(), claims, ..Default::default() };
    server.issue(request).await.expect("issues")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_lets_a_plain_token_pass_by_what_its_realm_says() {
    let server = start().await;
    let tokens = login(&server).await;
    let bearer = format!("Bearer {}", tokens.access_token);
    for (query, status) in [
        ("", 200),
        ("?audience=api&role=user", 200),
        ("?claim.user_id=ann", 200),
        ("?role=admin", 403),
        ("?audience=other", 403),
        ("?scope=read", 403),
    ] {
        let path = format!("/realms/plain/auth/check{query}");
        let answer = wire::send(server.http(), "GET", &path, &[("Authorization", &bearer)], "").await;
        assert_eq!(answer.status, status, "{query}");
        if status == 200 {
            let names = ["x-auth-subject", "x-auth-client-id", "x-auth-session-id", "x-auth-audience"];
            let said = names.map(|name| answer.header(name).unwrap_or_default().to_owned());
            assert_eq!(said, ["ann", "app", &tokens.session_id, "api"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth_works_on_plain_tokens_but_for_what_needs_another_client() {
    let server = start().await;
    let tokens = login(&server).await;
    let header = basic("app", secret());
    let post = async |endpoint: &str, form: &[(&str, &str)]| {
        let path = format!("/realms/plain/oauth2/{endpoint}");
        wire::post(server.http(), &path, &[("Authorization", &header)], form).await
    };
    let answer = post("introspect", &[("token", &tokens.access_token)]).await.json();
    assert_eq!((&answer["active"], &answer["sub"], &answer["user_id"]), (&json!(true), &json!("ann"), &json!("ann")));
    assert_eq!((&answer["aud"], &answer["client_id"], &answer["role"]), (&json!("api"), &json!("app"), &json!("user")));
    assert_eq!((&answer["iss"], &answer["sid"]), (&json!(issuer(&server)), &json!(tokens.session_id)));

    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh_token)];
    let refreshed = post("token", &refresh).await.json();
    assert_eq!(refreshed["refresh_token"], tokens.refresh_token.as_str());
    assert_ne!(refreshed["access_token"], tokens.access_token.as_str());

    let exchange = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &*tokens.access_token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    let refused = post("token", &exchange).await;
    assert_eq!(refused.refusal(), (400, "invalid_request".into()));
    assert!(refused.body.contains("don't name their client"), "{}", refused.body);
    // A client has no role.
    let refused = post("token", &[("grant_type", "client_credentials")]).await;
    assert_eq!(refused.refusal(), (400, "invalid_request".into()));
    assert!(refused.body.contains("claims.role is missing"), "{}", refused.body);

    assert_eq!(post("revoke", &[("token", &tokens.access_token)]).await.status, 200);
    assert_eq!(post("introspect", &[("token", &tokens.access_token)]).await.json(), json!({ "active": false }));
    assert_eq!(post("token", &refresh).await.refusal(), (400, "invalid_grant".into()));
}

fn issuer(server: &TestServer) -> String {
    format!("http://{}/realms/plain", server.http())
}
