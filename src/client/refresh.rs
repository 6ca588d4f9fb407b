//! What the answer to a refresh means: whether the session is over, or the same token may be sent
//! again.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::proto::v1::ErrorReason;

const DOMAIN: &str = "token-authority";

/// The session can't be continued: log in again. Says why, as the authority does; `Unspecified` for a
/// reason that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over: {}", .0.as_str_name())]
pub struct SessionOver(pub ErrorReason);

/// What a failed refresh means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Over(SessionOver),
    /// It may or may not have been done. Either way the same token is answered, with the same
    /// successor if there is one already.
    Again {
        code: Code,
        /// As the authority asks.
        not_before: Option<Duration>,
    },
}

impl Failure {
    pub(super) fn of(status: &Status) -> Self {
        use ErrorReason as R;
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let reason = info.and_then(|info| R::from_str_name(&format!("ERROR_REASON_{}", info.reason)));
        match (reason, status.code()) {
            (
                Some(
                    reason @ (R::RefreshTokenInvalid
                    | R::RefreshTokenExpired
                    | R::RefreshTokenReplayed
                    | R::RefreshTokenSuperseded
                    | R::SessionEnded
                    | R::SessionIdle
                    | R::ClientMismatch
                    | R::DeviceNotTrusted
                    | R::UnknownRealm
                    | R::InvalidRequest),
                ),
                _,
            ) => Self::Over(SessionOver(reason)),
            // A reason of a later version counts by its code.
            (None, Code::InvalidArgument) => Self::Over(SessionOver(R::Unspecified)),
            (_, code) => {
                let not_before = status.get_details_retry_info().and_then(|info| info.retry_delay);
                Self::Again { code, not_before }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn refused(code: Code, reason: &str, domain: &str) -> Failure {
        let details = ErrorDetails::with_error_info(reason, domain, HashMap::new());
        Failure::of(&Status::with_error_details(code, "", details))
    }

    #[test]
    fn only_the_authoritys_word_ends_a_session() {
        let over = |reason| Failure::Over(SessionOver(reason));
        let again = |code| Failure::Again { code, not_before: None };
        let invalid = Code::InvalidArgument;
        assert_eq!(refused(invalid, "REFRESH_TOKEN_REPLAYED", DOMAIN), over(ErrorReason::RefreshTokenReplayed));
        assert_eq!(refused(invalid, "SESSION_ENDED", DOMAIN), over(ErrorReason::SessionEnded));
        assert_eq!(refused(invalid, "OF_A_LATER_VERSION", DOMAIN), over(ErrorReason::Unspecified));
        for (code, reason) in [
            (Code::Unavailable, "OUTCOME_UNKNOWN"),
            (Code::Unavailable, "STORE_UNAVAILABLE"),
            (Code::ResourceExhausted, "OVERLOADED"),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            (Code::Internal, "INTERNAL"),
        ] {
            assert_eq!(refused(code, reason, DOMAIN), again(code), "{reason}");
        }
        // From whatever stands between.
        assert_eq!(refused(Code::Unavailable, "SESSION_ENDED", "proxy.example"), again(Code::Unavailable));
        for code in [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::PermissionDenied] {
            assert_eq!(Failure::of(&Status::new(code, "")), again(code));
        }
    }
}
