//! `POST /oauth2/token` (RFC 6749, section 3.2): one function a grant.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::authority::IssuedTokens;
use crate::authority::exchange_token::ExchangeToken;
use crate::authority::refresh_token::RefreshToken;
use crate::domain::client::GrantType;
use crate::domain::ids::Scope;

use super::Edge;
use super::caller::Caller;
use super::error::HttpError;
use super::names;

/// RFC 8693, section 3.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(super) async fn token(State(edge): State<Edge>, mut caller: Caller) -> Result<Json<Value>, HttpError> {
    let asked = caller.form.required("grant_type")?;
    let grant = GrantType::ALL.into_iter().find(|grant| grant.name() == asked);
    match grant.ok_or_else(HttpError::unsupported_grant_type)? {
        GrantType::RefreshToken => refresh(&edge, caller).await,
        GrantType::ClientCredentials => client_credentials(&edge, caller).await,
        GrantType::TokenExchange => exchange(&edge, caller).await,
    }
}

/// RFC 6749, section 6.
async fn refresh(edge: &Edge, caller: Caller) -> Result<Json<Value>, HttpError> {
    let Caller { realm, registered, mut form, .. } = caller;
    let request = RefreshToken {
        refresh_token: form.required("refresh_token")?.into(),
        client: None,
        scope: names::scope(&mut form)?,
        audience: names::audience(&mut form)?,
        // No proof of possession is read here, so a bound session can't go on here.
        confirmation: None,
        device: None,
    };
    let tokens = edge.authority.refresh_token_for(&realm, &registered.client, request).await?;
    Ok(answer(edge, tokens, None))
}

/// RFC 6749, section 4.4.
async fn client_credentials(edge: &Edge, caller: Caller) -> Result<Json<Value>, HttpError> {
    let Caller { realm, registered, mut form, .. } = caller;
    let (audience, scope) = (names::audience(&mut form)?, names::scope(&mut form)?);
    let tokens = edge.authority.grant_client_credentials(&realm, &registered.client, audience, scope).await?;
    Ok(answer(edge, tokens, None))
}

/// RFC 8693, section 2.1.
async fn exchange(edge: &Edge, caller: Caller) -> Result<Json<Value>, HttpError> {
    let Caller { realm, registered, mut form, .. } = caller;
    let is_access_token = |kind: &str| matches!(kind, ACCESS_TOKEN | JWT);
    let subject_token = form.required("subject_token")?;
    let subject_type = form.required("subject_token_type")?;
    let (actor_token, actor_type) = (form.optional("actor_token")?, form.optional("actor_token_type")?);
    let requested = form.optional("requested_token_type")?;
    if actor_token.is_some() != actor_type.is_some() {
        return Err(HttpError::invalid_request("actor_token and actor_token_type go together"));
    }
    let kinds = [Some(&subject_type), actor_type.as_ref(), requested.as_ref()];
    if !kinds.into_iter().flatten().all(|kind| is_access_token(kind)) {
        return Err(HttpError::invalid_request(format!("each token type must be {ACCESS_TOKEN} or {JWT}")));
    }
    let request = ExchangeToken {
        subject_token: subject_token.into(),
        actor_token: actor_token.map(Into::into),
        audience: names::audience(&mut form)?,
        scope: names::scope(&mut form)?,
    };
    let tokens = edge.authority.exchange_token(&realm, &registered.client, request).await?;
    Ok(answer(edge, tokens, Some(ACCESS_TOKEN)))
}

/// RFC 6749, section 5.1.
fn answer(edge: &Edge, tokens: IssuedTokens, issued_token_type: Option<&str>) -> Json<Value> {
    let scope: Vec<_> = tokens.grant.access.scope.iter().map(Scope::as_str).collect();
    let mut answer = json!({
        "access_token": tokens.access_token,
        "token_type": "Bearer",
        "expires_in": edge.authority.lifetime_left(&tokens).as_secs(),
        "scope": scope.join(" "),
    });
    if let Some(refresh_token) = tokens.refresh_token {
        answer["refresh_token"] = json!(refresh_token);
    }
    if let Some(issued) = issued_token_type {
        answer["issued_token_type"] = json!(issued);
    }
    Json(answer)
}
