//! A service in a realm whose key is secret: each token is asked about, and the layers answer as anywhere.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use token_authority::client::{NotAuthenticated, Protect, Rejection, Verifier, require_role};
use tonic::transport::Channel;
use tower::ServiceExt as _;

use crate::test_server::TestServer;
use crate::token_profile::{login, plain};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_can_check_nothing_itself_asks_about_each_token() {
    let server = TestServer::start_with(plain).await;
    let issuer = format!("http://{}", server.http());
    let channel = Channel::from_shared(format!("http://{}", server.grpc())).expect("an address").connect_lazy();
    let verifier = |issuer: &str, audience: &str| {
        Verifier::builder(channel.clone(), issuer, audience).introspect_each().build().expect("names")
    };
    let own = verifier(&issuer, "api");
    own.ready().await;
    let tokens = server.issue(login()).await.expect("issues");
    let (access, single) = (&tokens.access_token, tokens.refresh_token.as_str());

    let identity = own.verify(access).await.expect("good");
    assert_eq!((identity.subject().as_str(), identity.client().as_str()), ("ann", "cli"));
    assert_eq!(identity.session().map(|sid| sid.to_string()), Some(tokens.session_id.clone()));
    assert!(identity.has_role("user") && identity.claim("user_id").is_some());
    assert!(own.verify_known(access).is_none(), "memory knows nothing");
    for (verifier, token, why) in [
        (&own, "x", "not active"),
        (&own, single, "not active"),
        (&verifier(&issuer, "other"), access, "a token for another audience"),
        (&verifier("https://other.example", "api"), access, "wrong issuer"),
    ] {
        let refused = verifier.verify(token).await.expect_err(why);
        assert!(matches!(refused, Rejection::NotAuthenticated(_)) && refused.to_string().ends_with(why), "{refused}");
    }

    let behind = |role: &str| {
        Router::new().route("/", get(async || "")).layer(require_role(role)).layer(Protect::new(own.clone()))
    };
    let ask = async |role: &str, token: &str| {
        let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(Body::empty());
        behind(role).oneshot(request.expect("a request")).await.expect("answers").status().as_u16()
    };
    assert_eq!((ask("user", access).await, ask("admin", access).await, ask("user", "x").await), (200, 403, 401));
    server.revoke(access).await;
    assert_eq!(ask("user", access).await, 401, "at once");
    assert_eq!(own.verify(access).await.err(), Some(Rejection::NotAuthenticated(NotAuthenticated::NotActive)));
    server.stop().await;
    assert_eq!(ask("user", access).await, 503, "an outage is no verdict");
}
