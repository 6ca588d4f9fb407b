//! The one map from the use cases' errors to gRPC: code, reason, details (AIP-193). Texts that come
//! from a store or a library never leave the process.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::{error, warn};

use crate::authority::Error;
use crate::domain::rate_limit::RateLimited;
use crate::domain::refusal::Refusal;
use crate::domain::rotate_keys::KeyRefusal;
use crate::proto::v1::ErrorReason;

use super::validate::Violation;

const DOMAIN: &str = "token-authority";

/// The reason of an error.
pub(super) fn reason(error: &Error) -> ErrorReason {
    match error {
        Error::Invalid { .. } => ErrorReason::InvalidRequest,
        Error::ClientNotAuthenticated => ErrorReason::ClientNotAuthenticated,
        Error::UnknownRealm(_) => ErrorReason::UnknownRealm,
        Error::Overloaded | Error::StoreFull(_) => ErrorReason::Overloaded,
        Error::StoreUnavailable(_) | Error::NotFresh => ErrorReason::StoreUnavailable,
        Error::OutcomeUnknown(_) => ErrorReason::OutcomeUnknown,
        Error::NoSigningKey => ErrorReason::NoSigningKey,
        Error::Internal(_) => ErrorReason::Internal,
        Error::Key(refusal) => match refusal {
            KeyRefusal::Unknown => ErrorReason::UnknownKey,
            KeyRefusal::RequestIdReused => ErrorReason::RequestIdReused,
            KeyRefusal::NonePrepared
            | KeyRefusal::NotPrepared
            | KeyRefusal::NotPublished
            | KeyRefusal::OnlyActive
            | KeyRefusal::Revoked
            | KeyRefusal::OfAnotherRealm
            | KeyRefusal::TooManyPrepared => ErrorReason::KeyStateConflict,
        },
        Error::Folded { .. } => ErrorReason::RefreshTokenInvalid,
        Error::Refused(refusal) => match refusal {
            Refusal::RefreshTokenInvalid => ErrorReason::RefreshTokenInvalid,
            Refusal::RefreshTokenExpired => ErrorReason::RefreshTokenExpired,
            Refusal::RefreshTokenReplayed => ErrorReason::RefreshTokenReplayed,
            Refusal::RefreshTokenSuperseded => ErrorReason::RefreshTokenSuperseded,
            Refusal::RequestIdReused => ErrorReason::RequestIdReused,
            Refusal::SessionEnded => ErrorReason::SessionEnded,
            Refusal::SessionIdle => ErrorReason::SessionIdle,
            Refusal::SessionLimitReached => ErrorReason::SessionLimitReached,
            Refusal::RateLimited(_) => ErrorReason::RateLimited,
            Refusal::ClientMismatch | Refusal::ConfirmationMismatch => ErrorReason::ClientMismatch,
            Refusal::DeviceNotTrusted => ErrorReason::DeviceNotTrusted,
            Refusal::UnknownDevice => ErrorReason::UnknownDevice,
            Refusal::ClientNotPermitted => ErrorReason::ClientNotPermitted,
            Refusal::NotExchangeable(_) => ErrorReason::InvalidRequest,
            Refusal::ScopeNotGranted(_) => ErrorReason::ScopeNotGranted,
            Refusal::AudienceNotAllowed(_) => ErrorReason::AudienceNotAllowed,
            Refusal::ClaimNotAllowed { .. } => ErrorReason::ClaimNotAllowed,
        },
    }
}

/// The code of each reason: the one table.
fn code(reason: ErrorReason) -> Code {
    use ErrorReason as R;
    match reason {
        R::InvalidRequest
        | R::RequestIdReused
        | R::MalformedToken
        | R::TokenExpired
        | R::TokenRevoked
        | R::RefreshTokenInvalid
        | R::RefreshTokenExpired
        | R::RefreshTokenReplayed
        | R::RefreshTokenSuperseded
        | R::SessionEnded
        | R::SessionIdle
        | R::ClientMismatch
        | R::ClaimNotAllowed => Code::InvalidArgument,
        R::UnknownRealm | R::UnknownKey | R::UnknownDevice => Code::NotFound,
        R::ClientNotAuthenticated => Code::Unauthenticated,
        R::ScopeNotGranted | R::AudienceNotAllowed | R::DeviceNotTrusted | R::ClientNotPermitted => {
            Code::PermissionDenied
        }
        R::SessionLimitReached | R::RateLimited | R::Overloaded => Code::ResourceExhausted,
        R::RequestTooLarge => Code::OutOfRange,
        R::DeadlineExceeded => Code::DeadlineExceeded,
        R::StoreUnavailable | R::OutcomeUnknown | R::Stopping => Code::Unavailable,
        R::NoSigningKey | R::KeyStateConflict => Code::FailedPrecondition,
        R::Unsupported => Code::Unimplemented,
        R::Unspecified | R::Internal => Code::Internal,
    }
}

/// The status of an error.
pub(super) fn status(error: Error) -> Status {
    let reason = reason(&error);
    match error {
        Error::Invalid { field, problem } => invalid(reason, vec![Violation { field, description: problem }]),
        Error::Refused(Refusal::ClaimNotAllowed { field, problem }) => {
            invalid(reason, vec![Violation { field, description: problem }])
        }
        Error::Refused(Refusal::SessionLimitReached) => {
            let message = Refusal::SessionLimitReached.to_string();
            answer(reason, &message, ErrorDetails::with_quota_failure_violation("subject", message.as_str()))
        }
        // The limit alone: whom it is about is the caller's to know.
        Error::Refused(Refusal::RateLimited(RateLimited { limit, retry_after })) => {
            let message = error.to_string();
            let mut details = ErrorDetails::with_retry_info(Some(retry_after));
            details.add_quota_failure_violation(limit.name(), message.as_str());
            answer(reason, &message, details)
        }
        Error::UnknownRealm(_) => {
            answer(reason, &format!("{error}: name one that the server was started with"), ErrorDetails::new())
        }
        Error::StoreFull(ref cause) | Error::StoreUnavailable(ref cause) | Error::OutcomeUnknown(ref cause) => {
            warn!(%cause, "{error}");
            answer(reason, &error.to_string(), retry_soon())
        }
        Error::Overloaded | Error::NotFresh => answer(reason, &error.to_string(), retry_soon()),
        Error::Internal(ref cause) => {
            error!(%cause, "internal error");
            answer(reason, &error.to_string(), ErrorDetails::new())
        }
        Error::Refused(_)
        | Error::Folded { .. }
        | Error::Key(_)
        | Error::NoSigningKey
        | Error::ClientNotAuthenticated => answer(reason, &error.to_string(), ErrorDetails::new()),
    }
}

/// A request with fields that are not what they may be.
pub(super) fn invalid(reason: ErrorReason, violations: Vec<Violation>) -> Status {
    let message =
        violations.iter().map(|one| format!("{} {}", one.field, one.description)).collect::<Vec<_>>().join("; ");
    let mut details = ErrorDetails::new();
    for violation in violations {
        details.add_bad_request_violation(violation.field, violation.description);
    }
    answer(reason, &message, details)
}

/// A request that is larger than its method allows.
pub(super) fn too_large(most: usize) -> Status {
    let message = format!("the request is larger than the {most} bytes that this method allows");
    answer(ErrorReason::RequestTooLarge, &message, ErrorDetails::new())
}

/// A call that took longer than its caller, or the server, waits. What it changed may hold.
pub(super) fn deadline_exceeded() -> Status {
    answer(ErrorReason::DeadlineExceeded, "the deadline has passed: send the same again", retry_soon())
}

/// One call too many.
pub(super) fn overloaded() -> Status {
    status(Error::Overloaded)
}

/// The end of a stream that would go on, were the server not to stop: another one goes on.
pub(super) fn stopping() -> Status {
    answer(ErrorReason::Stopping, "the server stops: call again", retry_soon())
}

/// A call that this version describes but does not serve.
pub(super) fn unimplemented(call: &str) -> Status {
    answer(ErrorReason::Unsupported, &format!("{call} is not served by this version"), ErrorDetails::new())
}

/// The same request may succeed soon; the delay is jittered, so that callers don't come back together.
fn retry_soon() -> ErrorDetails {
    let jitter = RandomState::new().hash_one(()) % 200;
    ErrorDetails::with_retry_info(Some(Duration::from_millis(100 + jitter)))
}

fn answer(reason: ErrorReason, message: &str, mut details: ErrorDetails) -> Status {
    let name = reason.as_str_name();
    let name = name.strip_prefix("ERROR_REASON_").unwrap_or(name);
    details.set_error_info(name, DOMAIN, HashMap::new());
    Status::with_error_details(code(reason), message, details)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn who_is_refused_together_does_not_come_back_together() {
        let delay = |_| overloaded().get_details_retry_info().and_then(|info| info.retry_delay).expect("a delay");
        let delays: HashSet<Duration> = (0..64).map(delay).collect();
        assert!(delays.len() > 8, "{delays:?}");
        let bounds = Duration::from_millis(100)..Duration::from_millis(300);
        assert!(delays.iter().all(|delay| bounds.contains(delay)), "{delays:?}");
    }
}
