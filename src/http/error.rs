//! The one map from the use cases' errors to HTTP: status, and code of RFC 6749, section 5.2. Texts that
//! come from a store or a library never leave the process.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::{error, warn};

use crate::authority::Error;
use crate::domain::rate_limit::RateLimited;
use crate::domain::refusal::Refusal;

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct HttpError {
    status: StatusCode,
    code: &'static str,
    description: Cow<'static, str>,
    /// For a caller that may ask the same again.
    retry_after: Option<Duration>,
}

impl HttpError {
    /// A request that is not what it must be.
    pub(super) fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// RFC 6749, section 5.2; the same for whatever is wrong with the client's proof.
    pub(super) fn invalid_client() -> Self {
        Self::from(Error::ClientNotAuthenticated)
    }

    /// A grant that the token endpoint does not know.
    pub(super) fn unsupported_grant_type() -> Self {
        let description = "grant_type must be one of grant_types_supported in the metadata";
        Self::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", description)
    }

    /// A request with cookies that another site made, or that does not say which.
    pub(super) fn cross_site() -> Self {
        Self::new(StatusCode::FORBIDDEN, "access_denied", "only the site itself may ask this")
    }

    /// A call that took too long. What it changed may hold.
    pub(super) fn too_slow() -> Self {
        Self::unavailable("the deadline has passed: send the same again")
    }

    fn unavailable(description: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = Some(Duration::from_secs(1));
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description) }
    }

    fn new(status: StatusCode, code: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, description: description.into(), retry_after: None }
    }
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Refused(Refusal::RateLimited(RateLimited { retry_after, .. })) => {
                let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", text);
                Self { retry_after: Some(retry_after), ..error }
            }
            Error::Refused(refusal) => {
                let status = match refusal {
                    Refusal::SessionLimitReached => StatusCode::TOO_MANY_REQUESTS,
                    _ => StatusCode::BAD_REQUEST,
                };
                Self::new(status, code(&refusal), text)
            }
            Error::Folded { .. } => Self::new(StatusCode::BAD_REQUEST, code(&Refusal::RefreshTokenInvalid), text),
            Error::Invalid { .. } | Error::Key(_) => Self::invalid_request(text),
            Error::ClientNotAuthenticated => Self::new(StatusCode::UNAUTHORIZED, "invalid_client", text),
            Error::UnknownRealm(_) => Self::new(StatusCode::NOT_FOUND, "invalid_request", "there is no such realm"),
            Error::StoreUnavailable(cause) | Error::StoreFull(cause) | Error::OutcomeUnknown(cause) => {
                warn!(%cause, "{text}");
                Self::unavailable(text)
            }
            Error::Overloaded | Error::NotFresh => Self::unavailable(text),
            Error::Internal(cause) => {
                error!(%cause, "internal error");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", text)
            }
            Error::NoSigningKey => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", text),
        }
    }
}

/// The code of each refusal: the one table.
fn code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::RefreshTokenInvalid
        | Refusal::RefreshTokenExpired
        | Refusal::RefreshTokenReplayed
        | Refusal::RefreshTokenSuperseded
        | Refusal::SessionEnded
        | Refusal::SessionIdle
        | Refusal::ClientMismatch
        | Refusal::ConfirmationMismatch
        | Refusal::DeviceNotTrusted => "invalid_grant",
        Refusal::ScopeNotGranted(_) => "invalid_scope",
        // RFC 8707, section 2; RFC 8693, section 2.2.2.
        Refusal::AudienceNotAllowed(_) => "invalid_target",
        Refusal::ClientNotPermitted => "unauthorized_client",
        Refusal::NotExchangeable(_)
        | Refusal::RequestIdReused
        | Refusal::UnknownDevice
        | Refusal::ClaimNotAllowed { .. } => "invalid_request",
        Refusal::SessionLimitReached | Refusal::RateLimited(_) => "temporarily_unavailable",
    }
}

impl From<FormRejection> for HttpError {
    fn from(rejection: FormRejection) -> Self {
        let description = "must be a form, application/x-www-form-urlencoded, of at most 32 KiB";
        Self::new(rejection.status(), "invalid_request", description)
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        // The characters that RFC 6749, section 5.2 allows.
        let shown = |c: char| match c {
            '"' => '\'',
            ' '..='~' if c != '\\' => c,
            _ => '?',
        };
        let description: String = self.description.chars().map(shown).collect();
        let body = Json(json!({ "error": self.code, "error_description": description }));
        let mut answer = (self.status, body).into_response();
        let headers = answer.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token-authority\""));
        }
        if let Some(delay) = self.retry_after {
            // In whole seconds (RFC 9110, section 10.2.3), and never too soon.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }
}
