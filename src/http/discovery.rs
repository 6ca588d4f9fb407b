//! Where a realm's endpoints are and what they take: RFC 8414, and OpenID Connect Discovery for
//! libraries that look there. From memory.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::authority::Realm;
use crate::domain::algorithm::Algorithm;
use crate::domain::client::GrantType;

use super::Edge;
use super::caller::InRealm;
use super::error::HttpError;

const AUTH_METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
/// What a client's assertion may be signed with.
const ASSERTION_ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

/// `/.well-known/oauth-authorization-server` (RFC 8414, section 3).
pub(super) async fn authorization_server(
    State(edge): State<Edge>,
    InRealm(realm): InRealm,
) -> Result<Response, HttpError> {
    Ok(cached(metadata(&*edge.authority.realm(&realm)?)))
}

/// `/.well-known/openid-configuration`: what that document must have besides. No ID token is issued.
pub(super) async fn openid_configuration(
    State(edge): State<Edge>,
    InRealm(realm): InRealm,
) -> Result<Response, HttpError> {
    let realm = edge.authority.realm(&realm)?;
    let mut metadata = metadata(&realm);
    metadata["subject_types_supported"] = json!(["public"]);
    metadata["id_token_signing_alg_values_supported"] = json!([realm.policy.algorithm.name()]);
    Ok(cached(metadata))
}

fn metadata(realm: &Realm) -> Value {
    // To the byte what tokens say: a client compares them (RFC 8414, section 3.3).
    let issuer = &*realm.issuer;
    let mut metadata = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        "grant_types_supported": GrantType::ALL.map(GrantType::name),
        // Required, and there is no authorization endpoint.
        "response_types_supported": [],
    });
    for endpoint in ["token", "introspection", "revocation"] {
        metadata[format!("{endpoint}_endpoint_auth_methods_supported")] = json!(AUTH_METHODS);
        metadata[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")] = json!(ASSERTION_ALGORITHMS);
    }
    if realm.policy.algorithm != Algorithm::Hs256 {
        metadata["introspection_signing_alg_values_supported"] = json!([realm.policy.algorithm.name()]);
    }
    metadata
}

fn cached(document: Value) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(document)).into_response()
}
