//! The HTTP edge: key sets and probes. Reads memory only, and decides nothing.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::authority::{Authority, Error};
use crate::health::Readiness;

mod serve;

pub use serve::serve;
/// The publish-ahead time of a key is counted with it.
const MAY_BE_CACHED: &str = "public, max-age=300";

#[derive(Debug, Clone)]
struct Edge {
    authority: Arc<Authority>,
    readiness: Readiness,
}

/// The routes of the HTTP listener.
pub fn router(authority: Arc<Authority>, readiness: Readiness) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(|state, headers| jwks(state, Path("default".to_owned()), headers)))
        .route("/realms/{realm}/.well-known/jwks.json", get(jwks))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(Edge { authority, readiness })
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
