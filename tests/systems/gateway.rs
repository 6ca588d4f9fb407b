//! A gateway that asks whether a request may pass, as Envoy does (`ext_authz`).

use std::collections::HashMap;

use envoy_types::ext_authz::v3::pb::{CheckRequest, HttpResponse};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;

use crate::protected::to_authority;
use crate::test_server::TestServer;

/// Status and challenge that the client of a GET request with these headers would get.
pub(crate) async fn ask(server: &TestServer, headers: &[(&str, &str)]) -> (u16, String) {
    ask_with(server, headers, &[]).await
}

/// The same for a route with settings.
pub(crate) async fn ask_with(
    server: &TestServer,
    headers: &[(&str, &str)],
    settings: &[(&str, &str)],
) -> (u16, String) {
    let owned = |pairs: &[(&str, &str)]| -> HashMap<_, _> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let http = HttpRequest {
        method: "GET".to_owned(),
        host: "shop.example".to_owned(),
        headers: owned(headers),
        ..HttpRequest::default()
    };
    let mut context_extensions = owned(settings);
    context_extensions.insert("realm".to_owned(), server.realm());
    let attributes = AttributeContext {
        request: Some(Request { http: Some(http), ..Request::default() }),
        context_extensions,
        ..AttributeContext::default()
    };
    let request = CheckRequest { attributes: Some(attributes) };
    let answer = AuthorizationClient::new(to_authority(server)).check(request).await.expect("a verdict").into_inner();
    match answer.http_response.expect("a response") {
        HttpResponse::OkResponse(_) => (200, String::new()),
        HttpResponse::DeniedResponse(denied) => {
            let challenge = denied.headers.into_iter().next().and_then(|option| option.header).expect("a challenge");
            (u16::try_from(denied.status.expect("a status").code).expect("a status"), challenge.value)
        }
        HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
    }
}
