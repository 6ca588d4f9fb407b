//! `POST /oauth2/introspect` (RFC 7662), and its answer as a signed JWT where `Accept` asks for one
//! (RFC 9701).

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::authority::introspect_token::{Active, ActiveRefresh, Consistency, IntrospectToken, VerifiedToken};
use crate::domain::ids::{Audience, Scope};
use crate::domain::token::Confirmation;

use super::Edge;
use super::caller::Caller;
use super::error::HttpError;

const JWT: &str = "application/token-introspection+jwt";

pub(super) async fn introspect(
    State(edge): State<Edge>,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, HttpError> {
    let Caller { realm, permit, registered, mut form } = caller;
    let (required_audience, required_scope) = (None, Vec::new());
    let (token, consistency) = (form.required("token")?, Consistency::default());
    let request = IntrospectToken { token, required_audience, required_scope, consistency };
    let answer = edge.authority.introspect_token_for(&permit, &request).await?;
    let answer = match answer.map(|introspection| introspection.active) {
        // And nothing else (RFC 7662, section 2.2).
        None => json!({ "active": false }),
        Some(Active::Access(token)) => access(&token),
        Some(Active::Refresh(refresh)) => refresh_token(&refresh),
    };
    if !wants_jwt(&headers) {
        return Ok(Json(answer).into_response());
    }
    let statement = edge.authority.introspection_statement(&realm, &registered.client.id, answer).await?;
    Ok(([(header::CONTENT_TYPE, JWT)], statement).into_response())
}

fn wants_jwt(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(',')).filter_map(|kind| kind.split(';').next());
    kinds.any(|kind| kind.trim().eq_ignore_ascii_case(JWT))
}

fn access(token: &VerifiedToken) -> Value {
    // Own claims first: none takes the place of what is said below.
    let mut answer = token.claims.clone();
    if let Some(not_before) = token.not_before {
        answer.insert("nbf".to_owned(), json!(not_before.seconds()));
    }
    if let Some(sid) = token.session {
        answer.insert("sid".to_owned(), json!(sid.to_string()));
    }
    answer.insert("token_type".to_owned(), json!("Bearer"));
    answer.insert("jti".to_owned(), json!(token.id.to_string()));
    let times = (token.issued.seconds(), token.expires.seconds());
    let audience: Vec<_> = token.audience.iter().map(Audience::as_str).collect();
    let names = [token.subject.as_str(), token.client.as_str(), &token.issuer];
    standard(answer, names, &audience, &token.scope, times, token.confirmation.as_ref())
}

fn refresh_token(refresh: &ActiveRefresh) -> Value {
    let session = &refresh.session;
    let mut answer = session.claims.members().clone();
    answer.insert("sid".to_owned(), json!(refresh.place.sid(session.id).to_string()));
    // An access token has a type; this is none.
    answer.remove("token_type");
    let times = (session.refreshed.seconds(), session.ends().seconds());
    let names = [refresh.subject.as_str(), session.client.as_str(), &refresh.issuer];
    standard(answer, names, &[&refresh.issuer], &session.scope, times, session.confirmation.as_ref())
}

fn standard(
    mut answer: Map<String, Value>,
    [subject, client, issuer]: [&str; 3],
    audience: &[&str],
    scope: &[Scope],
    (issued, expires): (i64, i64),
    confirmation: Option<&Confirmation>,
) -> Value {
    let scope = scope.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
    let audience = if let [one] = audience { json!(one) } else { json!(audience) };
    let members = [
        ("active", json!(true)),
        ("iss", json!(issuer)),
        ("sub", json!(subject)),
        ("aud", audience),
        ("client_id", json!(client)),
        ("iat", json!(issued)),
        ("exp", json!(expires)),
    ];
    answer.extend(members.map(|(name, value)| (name.to_owned(), value)));
    if !scope.is_empty() {
        answer.insert("scope".to_owned(), json!(scope));
    }
    if let Some(confirmation) = confirmation {
        let (method, thumbprint) = match confirmation {
            Confirmation::JwkThumbprint(thumbprint) => ("jkt", thumbprint),
            Confirmation::CertificateThumbprint(thumbprint) => ("x5t#S256", thumbprint),
        };
        answer.insert("cnf".to_owned(), json!({ method: URL_SAFE_NO_PAD.encode(thumbprint) }));
    }
    Value::Object(answer)
}
