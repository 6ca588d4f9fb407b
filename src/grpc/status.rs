//! The one map from the use cases' errors to gRPC: code, reason, details (AIP-193). Texts that come
//! from a store or a library never leave the process.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::{error, warn};

use crate::authority::Error;
use crate::domain::refusal::Refusal;
use crate::proto::v1::ErrorReason;

use super::validate::Violation;

const DOMAIN: &str = "token-authority";

/// The status of an error.
pub(super) fn status(error: Error) -> Status {
    match error {
        Error::Refused(refusal) => refused(&refusal),
        Error::Invalid { field, problem } => {
            invalid(ErrorReason::InvalidRequest, vec![Violation { field, description: problem }])
        }
        Error::UnknownRealm(name) => {
            let message = format!("there is no realm {name:?}: name one that the server was started with");
            answer(Code::NotFound, ErrorReason::UnknownRealm, &message, ErrorDetails::new())
        }
        Error::MalformedToken => plain(Code::InvalidArgument, ErrorReason::MalformedToken, "not a token of this realm"),
        Error::Overloaded => retry(Code::ResourceExhausted, ErrorReason::Overloaded, "too many requests are waiting"),
        Error::StoreFull(cause) => {
            warn!(%cause, "the store is full");
            retry(Code::ResourceExhausted, ErrorReason::Overloaded, "the store is full")
        }
        Error::StoreUnavailable(cause) => {
            warn!(%cause, "the store is not available");
            retry(Code::Unavailable, ErrorReason::StoreUnavailable, "the store is not available")
        }
        Error::OutcomeUnknown(cause) => {
            warn!(%cause, "the outcome of a commit is unknown");
            retry(Code::Unavailable, ErrorReason::OutcomeUnknown, "the outcome is unknown: send the same again")
        }
        Error::NotFresh => retry(Code::Unavailable, ErrorReason::StoreUnavailable, "not as fresh as was asked for"),
        Error::NoSigningKey => {
            plain(Code::FailedPrecondition, ErrorReason::NoSigningKey, "the realm has no signing key")
        }
        Error::Internal(cause) => {
            error!(%cause, "internal error");
            Status::internal("internal error")
        }
    }
}

fn refused(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    let (code, reason) = match refusal {
        Refusal::RefreshTokenInvalid => (Code::InvalidArgument, ErrorReason::RefreshTokenInvalid),
        Refusal::RefreshTokenExpired => (Code::InvalidArgument, ErrorReason::RefreshTokenExpired),
        Refusal::RefreshTokenReplayed => (Code::InvalidArgument, ErrorReason::RefreshTokenReplayed),
        Refusal::RefreshTokenSuperseded => (Code::InvalidArgument, ErrorReason::RefreshTokenSuperseded),
        Refusal::RequestIdReused => (Code::InvalidArgument, ErrorReason::RequestIdReused),
        Refusal::SessionEnded => (Code::InvalidArgument, ErrorReason::SessionEnded),
        Refusal::SessionIdle => (Code::InvalidArgument, ErrorReason::SessionIdle),
        Refusal::ClientMismatch | Refusal::ConfirmationMismatch => (Code::InvalidArgument, ErrorReason::ClientMismatch),
        Refusal::ScopeNotGranted(_) => (Code::PermissionDenied, ErrorReason::ScopeNotGranted),
        Refusal::AudienceNotAllowed(_) => (Code::PermissionDenied, ErrorReason::AudienceNotAllowed),
        Refusal::SessionLimitReached => {
            let details = ErrorDetails::with_quota_failure_violation("subject", message.as_str());
            return answer(Code::ResourceExhausted, ErrorReason::SessionLimitReached, &message, details);
        }
        Refusal::ClaimNotAllowed { field, problem } => {
            let violation = Violation { field: field.clone(), description: problem.clone() };
            return invalid(ErrorReason::ClaimNotAllowed, vec![violation]);
        }
    };
    plain(code, reason, &message)
}

/// A request with fields that are not what they may be.
pub(super) fn invalid(reason: ErrorReason, violations: Vec<Violation>) -> Status {
    let message =
        violations.iter().map(|one| format!("{} {}", one.field, one.description)).collect::<Vec<_>>().join("; ");
    let mut details = ErrorDetails::new();
    for violation in violations {
        details.add_bad_request_violation(violation.field, violation.description);
    }
    answer(Code::InvalidArgument, reason, &message, details)
}

/// A call that this version describes but does not serve.
pub(super) fn unimplemented(call: &str) -> Status {
    plain(Code::Unimplemented, ErrorReason::Unsupported, &format!("{call} is not served by this version"))
}

fn plain(code: Code, reason: ErrorReason, message: &str) -> Status {
    answer(code, reason, message, ErrorDetails::new())
}

/// The same request may succeed soon; the delay is jittered, so that callers don't come back together.
fn retry(code: Code, reason: ErrorReason, message: &str) -> Status {
    let jitter = RandomState::new().hash_one(()) % 200;
    let delay = Duration::from_millis(100 + jitter);
    answer(code, reason, message, ErrorDetails::with_retry_info(Some(delay)))
}

fn answer(code: Code, reason: ErrorReason, message: &str, mut details: ErrorDetails) -> Status {
    let name = reason.as_str_name();
    let name = name.strip_prefix("ERROR_REASON_").unwrap_or(name);
    details.set_error_info(name, DOMAIN, std::collections::HashMap::new());
    Status::with_error_details(code, message, details)
}
