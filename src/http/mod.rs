//! The HTTP edge: discovery, key sets and probes from memory, and the endpoints of OAuth. Decodes, calls
//! a use case, encodes; no rules live here.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use prometheus_client::registry::Registry;

mod browser_session;
mod caller;
mod discovery;
mod error;
pub(crate) mod form;
mod forward_auth;
mod headers;
mod introspect;
mod metrics;
mod names;
mod revoke;
mod routes;
mod serve;
mod token;

use crate::authority::attribution::attributed;
use crate::authority::authorization::NoRow;
use crate::authority::{Authority, Error};
use crate::domain::policy::REQUEST_DEADLINE;
use crate::health::Readiness;

use error::HttpError;
use metrics::RequestMeter;
use routes::{OF_REALM, Routes};
pub use serve::serve;
/// The publish-ahead time of a key is counted with it.
const MAY_BE_CACHED: &str = "public, max-age=300";

/// The largest form: two tokens of 8 KiB, encoded, fit.
const MAX_FORM_BYTES: usize = 32 << 10;

#[derive(Debug, Clone)]
struct Edge {
    authority: Arc<Authority>,
    readiness: Readiness,
    registry: Arc<Registry>,
}

/// The routes of the HTTP listener; `/metrics` shows the registry.
pub fn router(authority: Arc<Authority>, readiness: Readiness, mut registry: Registry) -> Result<Router, NoRow> {
    let meter = RequestMeter::new(&mut registry);
    let edge = Edge { authority, readiness, registry: Arc::new(registry) };
    let routes = Routes::new()
        .merge(of_realm())
        .nest(OF_REALM, of_realm())
        // RFC 8414, section 3.1: before the issuer's path.
        .route("/.well-known/oauth-authorization-server/realms/{realm}", get(discovery::authorization_server))
        .route("/.well-known/jwks.json", get(|state, headers| jwks(state, Path("default".to_owned()), headers)))
        .route("/realms/{realm}/.well-known/jwks.json", get(jwks))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics::metrics));
    Ok(routes.checked()?.route_layer(from_fn_with_state(meter, metrics::measured)).with_state(edge))
}

/// What each realm has below its issuer.
fn of_realm() -> Routes {
    let private = Routes::new()
        .route("/oauth2/introspect", post(introspect::introspect))
        .route("/oauth2/revoke", post(revoke::revoke))
        .route("/oauth2/token", post(token::token))
        .route("/auth/check", any(forward_auth::check))
        .route("/session/refresh", post(browser_session::refresh))
        .route("/session/logout", post(browser_session::logout))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(from_fn(bounded));
    Routes::new()
        .route("/.well-known/oauth-authorization-server", get(discovery::authorization_server))
        .route("/.well-known/openid-configuration", get(discovery::openid_configuration))
        .merge(private)
}

/// In time, and kept by nobody on the way (RFC 6749, section 5.1; RFC 7662, section 2.2).
async fn bounded(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(REQUEST_DEADLINE, attributed(next.run(request))).await;
    let mut answer = answer.unwrap_or_else(|_| HttpError::too_slow().into_response());
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

/// The JSON Web Key Set of a realm (RFC 7517, section 5).
async fn jwks(State(edge): State<Edge>, Path(realm): Path<String>, asked: HeaderMap) -> Response {
    match edge.authority.json_web_key_set(&realm) {
        Ok(set) => {
            let caching = [(header::CACHE_CONTROL, MAY_BE_CACHED), (header::ETAG, &set.etag)];
            if has_already(&asked, &set.etag) {
                return (StatusCode::NOT_MODIFIED, caching).into_response();
            }
            (caching, [(header::CONTENT_TYPE, "application/jwk-set+json")], set.json.clone()).into_response()
        }
        Err(Error::UnknownRealm(_)) => (StatusCode::NOT_FOUND, "there is no such realm\n").into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response(),
    }
}

/// Whether the caller's copy is the one that would be sent (RFC 9110, section 13.1.2).
fn has_already(asked: &HeaderMap, etag: &str) -> bool {
    let listed = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    listed
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

async fn readyz(State(edge): State<Edge>) -> Response {
    if edge.readiness.is_ready() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}
