//! The HTTP edge: key sets and probes. Reads memory only, and decides nothing.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::authority::{Authority, Error};
use crate::health::Readiness;

mod serve;

pub use serve::serve;

#[derive(Debug, Clone)]
struct Edge {
    authority: Arc<Authority>,
    readiness: Readiness,
}

/// The routes of the HTTP listener.
pub fn router(authority: Arc<Authority>, readiness: Readiness) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(|state| jwks(state, Path("default".to_owned()))))
        .route("/realms/{realm}/.well-known/jwks.json", get(jwks))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(Edge { authority, readiness })
}

/// The JSON Web Key Set of a realm (RFC 7517, section 5).
async fn jwks(State(edge): State<Edge>, Path(realm): Path<String>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, "public, max-age=300")];
    match edge.authority.json_web_key_set(&realm) {
        Ok(set) => (headers, set).into_response(),
        Err(Error::UnknownRealm(_)) => (StatusCode::NOT_FOUND, "there is no such realm\n").into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response(),
    }
}

async fn readyz(State(edge): State<Edge>) -> Response {
    if edge.readiness.is_ready() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}
