//! The HTTP edge over a store that fails or counts: an outage is said to be one, and what is public
//! comes from memory.

use axum::Router;
use axum::body::{Body, to_bytes};
use envoy_types::ext_authz::v3::pb::{Authorization as _, CheckRequest};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use http::{Request, StatusCode, header};
use prometheus_client::registry::Registry;
use serde_json::Value;
use token_authority::authority::caller::Anonymous;
use token_authority::authority::issue_token::IssueKind;
use token_authority::grpc::{ExtAuthz, Gate};
use token_authority::health::Readiness;
use tower::ServiceExt as _;

use crate::store_faults::faulty_store::Fault;
use crate::store_faults::world::{CLIENT_SECRET, World, login};

const REQUESTS: usize = 10_000;

struct Answer {
    status: StatusCode,
    retry_after: bool,
    body: Vec<u8>,
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let answer = router.clone().oneshot(request).await.unwrap();
    let (status, retry_after) = (answer.status(), answer.headers().contains_key(header::RETRY_AFTER));
    Answer { status, retry_after, body: to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec() }
}

async fn post(router: &Router, endpoint: &str, parameters: &str) -> Answer {
    let form = format!("client_id=app&client_secret={CLIENT_SECRET}&{parameters}");
    let request = Request::post(format!("/realms/web/oauth2/{endpoint}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form));
    send(router, request.unwrap()).await
}

fn router(world: &World) -> Router {
    token_authority::http::router(world.authority.clone(), Readiness::default(), Registry::default()).unwrap()
}

#[tokio::test]
async fn an_outage_is_an_error_and_never_an_answer() {
    let world = World::new().await;
    let router = router(&world);
    let session = world.login("ann", "phone").await;
    let alone = world.authority.issue_token("web", login("ann", "", IssueKind::Sessionless)).await.unwrap();
    let refresh_token = session.refresh_token.clone().unwrap();
    let calls = [
        ("introspect", format!("token={refresh_token}")),
        ("revoke", format!("token={refresh_token}")),
        ("revoke", format!("token={}", session.access_token)),
        ("revoke", format!("token={}", alone.access_token)),
        ("token", format!("grant_type=refresh_token&refresh_token={refresh_token}")),
    ];
    for fault in [Fault::Unavailable, Fault::UnknownLost, Fault::Full] {
        for (endpoint, parameters) in &calls {
            world.store.arm(0, &[fault; 8]);
            let answer = post(&router, endpoint, parameters).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{fault:?} {endpoint} {parameters}");
            let error: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((error["error"].as_str(), answer.retry_after), (Some("temporarily_unavailable"), true));
            assert!(!error.to_string().contains("scripted"), "a driver's text: {error}");
            world.store.disarm();
        }
    }
    // From memory, and no session was ended by any of it.
    world.store.arm(0, &[Fault::Unavailable; 8]);
    let answer = post(&router, "introspect", &format!("token={}", session.access_token)).await;
    assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap()["active"], true);
    world.store.disarm();
    for (endpoint, parameters) in &calls[..4] {
        assert_eq!(post(&router, endpoint, parameters).await.status, StatusCode::OK, "{endpoint}");
    }
    assert!(!world.active(&session.access_token).await && !world.active(&alone.access_token).await);
}

#[tokio::test]
async fn before_the_log_is_read_nobody_passes_and_nobody_is_told_no() {
    let world = World::before_the_log_is_read(|_| {}).await;
    let router = router(&world);
    let alone = world.authority.issue_token("web", login("ann", "", IssueKind::Sessionless)).await.unwrap();
    let bearer = format!("Bearer {}", alone.access_token);
    for headers in [Some(bearer.as_str()), None] {
        let mut request = Request::get("/realms/web/auth/check");
        if let Some(value) = headers {
            request = request.header(header::AUTHORIZATION, value);
        }
        let answer = send(&router, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let answer = post(&router, "introspect", &format!("token={}", alone.access_token)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let (envoy, unasked) =
        (ExtAuthz::new(Gate::new(world.authority.clone(), Anonymous::Operator)), CheckRequest::default());
    let error = envoy.check(tonic::Request::new(unasked)).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound, "{error:?}: there is no realm `default` here");
    let mut attributes = AttributeContext::default();
    attributes.context_extensions.insert("realm".to_owned(), "web".to_owned());
    let asked = CheckRequest { attributes: Some(attributes) };
    let error = envoy.check(tonic::Request::new(asked)).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable, "{error:?}");
}

#[tokio::test]
async fn key_sets_and_metadata_come_from_memory() {
    let world = World::new().await;
    let router = router(&world);
    world.store.arm(0, &[Fault::Unavailable; 8]);
    let documents = ["jwks.json", "openid-configuration", "oauth-authorization-server"];
    for document in documents.iter().cycle().take(REQUESTS) {
        let request = Request::get(format!("/realms/web/.well-known/{document}")).body(Body::empty());
        assert_eq!(send(&router, request.unwrap()).await.status, StatusCode::OK);
    }
    let (calls, _) = world.store.disarm();
    assert!(calls.is_empty(), "{} calls of the store", calls.len());
}
