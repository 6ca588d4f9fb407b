//! `POST /session/refresh` and `POST /session/logout`: a browser's session, its tokens in cookies that no
//! script can read. Only the site itself may ask.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::authority::check_request::{self, HeldRequest, cookie};
use crate::authority::{Error, IssuedTokens};
use crate::domain::refusal::Refusal;

use super::Edge;
use super::caller::InRealm;
use super::error::HttpError;
use super::headers::{cookies, once};

/// Sent to `/session` and nowhere else. `__Secure-`, since `__Host-` would mean every path.
const REFRESH_COOKIE: &str = "__Secure-refresh_token";

/// The next pair of tokens, as cookies.
pub(super) async fn refresh(
    State(edge): State<Edge>,
    InRealm(realm): InRealm,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    check_origin(&headers)?;
    let names = Cookies::of(&edge, &realm)?;
    let given = cookies(&headers)?.and_then(|cookies| cookie(cookies, REFRESH_COOKIE));
    let token = given.map(str::to_owned);
    match edge.authority.refresh_browser_session(&realm, token).await {
        Ok(tokens) => {
            let left = edge.authority.lifetime_left(&tokens).as_secs();
            // For the script, to ask again in time; no token.
            Ok((names.set(&tokens, left)?, Json(json!({ "expires_in": left }))).into_response())
        }
        Err(error) => {
            let over = matches!(
                error.refusal(),
                Some(
                    Refusal::RefreshTokenInvalid
                        | Refusal::RefreshTokenExpired
                        | Refusal::RefreshTokenReplayed
                        | Refusal::SessionEnded
                        | Refusal::SessionIdle
                )
            );
            let answer = HttpError::from(error);
            if over { Ok((names.clear()?, answer).into_response()) } else { Err(answer) }
        }
    }
}

/// Ends the session; the cookies go once that is certain.
pub(super) async fn logout(
    State(edge): State<Edge>,
    InRealm(realm): InRealm,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    check_origin(&headers)?;
    let names = Cookies::of(&edge, &realm)?;
    let given = cookies(&headers)?.unwrap_or_default();
    // Each of several: another host of the site may have set one beside ours.
    let tokens = [REFRESH_COOKIE, &names.access].into_iter().flat_map(|name| check_request::cookies(given, name));
    let mut outcome = Ok(());
    for token in tokens.filter_map(|token| std::str::from_utf8(token).ok()) {
        outcome = outcome.and(edge.authority.revoke_token(&realm, token).await.map(|_| ()));
    }
    outcome?;
    Ok((names.clear()?, StatusCode::NO_CONTENT).into_response())
}

fn check_origin(headers: &HeaderMap) -> Result<(), HttpError> {
    let request = HeldRequest {
        method: Method::POST.as_str(),
        host: once(headers, "x-forwarded-host")?.or(once(headers, header::HOST.as_str())?).unwrap_or_default(),
        origin: once(headers, header::ORIGIN.as_str())?,
        fetch_site: once(headers, "sec-fetch-site")?,
        ..HeldRequest::default()
    };
    if request.is_same_origin() { Ok(()) } else { Err(HttpError::cross_site()) }
}

/// The names and paths of a realm's two cookies.
struct Cookies {
    access: String,
    path: String,
}

impl Cookies {
    fn of(edge: &Edge, realm: &str) -> Result<Self, HttpError> {
        let realm = edge.authority.realm(realm)?;
        // Where browsers find this: the issuer may lie below a path of its host.
        let (_, host_and_path) = realm.issuer.split_once("://").unwrap_or_default();
        let path = host_and_path.find('/').map_or("", |start| &host_and_path[start..]);
        Ok(Self { access: realm.policy.access_cookie.to_string(), path: format!("{path}/session") })
    }

    /// The access token also goes along when the user follows a link to the site; the refresh token only
    /// when the site itself asks.
    fn set(&self, tokens: &IssuedTokens, left: u64) -> Result<HeaderMap, HttpError> {
        let refresh = tokens.grant.refresh.as_ref();
        let lives = refresh.map_or(0, |refresh| refresh.expires.since(tokens.grant.access.issued).as_secs());
        self.both(&tokens.access_token, left, tokens.refresh_token.as_deref().unwrap_or_default(), lives)
    }

    fn clear(&self) -> Result<HeaderMap, HttpError> {
        self.both("", 0, "", 0)
    }

    fn both(&self, access: &str, access_age: u64, refresh: &str, refresh_age: u64) -> Result<HeaderMap, HttpError> {
        const GUARDED: &str = "Secure; HttpOnly";
        let Self { access: name, path } = self;
        let cookies = [
            format!("{name}={access}; Path=/; Max-Age={access_age}; {GUARDED}; SameSite=Lax"),
            format!("{REFRESH_COOKIE}={refresh}; Path={path}; Max-Age={refresh_age}; {GUARDED}; SameSite=Strict"),
        ];
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            let cookie = HeaderValue::try_from(cookie).map_err(|error| HttpError::from(Error::internal(error)))?;
            headers.append(header::SET_COOKIE, cookie);
        }
        Ok(headers)
    }
}
