//! `/auth/check`: forward authentication for NGINX (`auth_request`) and Traefik (`ForwardAuth`). The route's
//! requirements stand in the query; 200, 401 or 403 is the verdict.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::authority::check_request::{self, HeldRequest, Requirements, UPGRADE_HEADERS, Verdict};

use super::Edge;
use super::caller::InRealm;
use super::error::HttpError;
use super::headers::{cookies, once};

/// Where gateways say what they hold: Traefik by itself, NGINX as it is configured.
const METHOD: &str = "x-forwarded-method";
const HOST: &str = "x-forwarded-host";

pub(super) async fn check(
    State(edge): State<Edge>,
    InRealm(realm): InRealm,
    Query(settings): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    // Named by the path alone: another one in the query is one too many.
    let realm = ("realm", realm.as_str());
    let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let required = Requirements::parse(settings.chain([realm]))?;
    let host = once(&headers, HOST)?.or(once(&headers, header::HOST.as_str())?);
    let held = HeldRequest {
        method: once(&headers, METHOD)?.unwrap_or_default(),
        host: host.unwrap_or_default(),
        authorization: once(&headers, header::AUTHORIZATION.as_str())?,
        cookie: cookies(&headers)?,
        origin: once(&headers, header::ORIGIN.as_str())?,
        fetch_site: once(&headers, "sec-fetch-site")?,
        upgrades: UPGRADE_HEADERS.iter().any(|name| headers.contains_key(*name)),
    };
    Ok(match edge.authority.check_request(&held, &required).await? {
        Verdict::Allowed(token) => {
            let identity = check_request::identity(&token).into_iter();
            let headers: HeaderMap = identity
                .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::try_from(value?).ok()?)))
                .collect();
            headers.into_response()
        }
        Verdict::Denied(denial) => {
            let status = StatusCode::from_u16(denial.status()).unwrap_or(StatusCode::FORBIDDEN);
            let challenge = [(header::WWW_AUTHENTICATE, &*denial.challenge())];
            match denial.told() {
                None => (status, challenge).into_response(),
                Some(told) => {
                    let body = Json(json!({ "error": "invalid_token", "error_description": told.as_str() }));
                    (status, challenge, body).into_response()
                }
            }
        }
    })
}
