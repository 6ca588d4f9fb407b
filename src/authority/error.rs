//! Why a use case did not answer. How a reason is worded and coded outside is not known here.

use std::sync::Arc;

use crate::domain::ids::{InvalidName, Message};
use crate::domain::refusal::Refusal;
use crate::domain::rotate_keys::KeyRefusal;

use super::ports::StoreError;

/// The one error of the use cases.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The rules say no to a refresh token, in a realm that tells callers one message for all reasons.
    #[error("{told}")]
    Folded {
        /// For logs, and for what else depends on it.
        why: Refusal,
        /// For callers.
        told: Message,
    },
    /// The key's state says no.
    #[error(transparent)]
    Key(#[from] KeyRefusal),
    /// A field of the request is not what it may be.
    #[error("{field} {problem}")]
    Invalid {
        /// The field, as the API names it.
        field: String,
        /// What is allowed.
        problem: String,
    },
    /// Nobody whom the realm knows, or no proof of it.
    #[error("the client is not known, or did not prove who it is")]
    ClientNotAuthenticated,
    /// No such realm.
    #[error("there is no realm {0:?}")]
    UnknownRealm(String),
    /// More is asked for than can be done now; the same may be tried again.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The store did not answer; nothing was changed, and the same may be tried again.
    #[error("the store is not available: send the same again")]
    StoreUnavailable(Arc<str>),
    /// The store takes no more data.
    #[error("the store is full")]
    StoreFull(Arc<str>),
    /// Nobody knows whether the change was made; the same may be tried again.
    #[error("the outcome is unknown: send the same again")]
    OutcomeUnknown(Arc<str>),
    /// The revocation log has not been read as far as was asked for.
    #[error("not as fresh as was asked for")]
    NotFresh,
    /// The realm has no key that can sign.
    #[error("the realm has no signing key")]
    NoSigningKey,
    /// A defect, or damaged data. The text is for the log only.
    #[error("internal error")]
    Internal(Arc<str>),
}

impl Error {
    /// A field that is not what it may be.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), problem: problem.into() }
    }

    /// The rules' own word, whatever callers are told.
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Folded { why: refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// A defect.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::Internal(cause.to_string().into())
    }
}

impl From<InvalidName> for Error {
    fn from(invalid: InvalidName) -> Self {
        Self::invalid(invalid.what, invalid.problem)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => Self::StoreUnavailable(cause),
            StoreError::OutcomeUnknown(cause) => Self::OutcomeUnknown(cause),
            StoreError::Full(cause) => Self::StoreFull(cause),
            StoreError::Corrupt(cause) => Self::Internal(cause),
        }
    }
}
