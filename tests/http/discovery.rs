//! The metadata documents (RFC 8414).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use token_authority::domain::ids::RealmName;
use token_authority::proto::v1;

use crate::test_server::TestServer;
use crate::wire::get;

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_is_iss_to_the_byte_and_what_it_names_is_there() {
    let server = TestServer::start_configured(|config| {
        let mut policy = config.realms[0].clone();
        policy.realm = RealmName::parse("web").expect("a realm");
        config.realms.push(policy);
    })
    .await;
    for (realm, below) in [("default", ""), ("web", "/realms/web")] {
        let login = v1::IssueTokenRequest { realm: realm.into(), subject: "ann".into(), ..Default::default() };
        let token = server.issue(login).await.expect("issues").access_token;
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("a payload")).expect("base64url");
        let claims: Value = serde_json::from_slice(&payload).expect("JSON");
        for name in ["openid-configuration", "oauth-authorization-server"] {
            let answer = get(server.http(), &format!("{below}/.well-known/{name}")).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{name}");
            let metadata = answer.json();
            assert_eq!(metadata["issuer"], claims["iss"]);
            let (_, keys) =
                metadata["jwks_uri"].as_str().expect("a URL").split_at(format!("http://{}", server.http()).len());
            assert_eq!(get(server.http(), keys).await.status, 200, "{keys}");
            for endpoint in ["token", "introspection", "revocation"] {
                let url = metadata[format!("{endpoint}_endpoint")].as_str().expect("a URL");
                let (_, path) = url.split_at(format!("http://{}", server.http()).len());
                assert_eq!(get(server.http(), path).await.status, 405, "{path} takes POST only");
            }
        }
    }
    // RFC 8414, section 3.1: the well-known part before the issuer's path.
    let inserted = get(server.http(), "/.well-known/oauth-authorization-server/realms/web").await;
    assert_eq!(inserted.body, get(server.http(), "/realms/web/.well-known/oauth-authorization-server").await.body);
    assert_eq!(get(server.http(), "/realms/nowhere/.well-known/openid-configuration").await.status, 404);
}
