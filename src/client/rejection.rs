//! Why a request does not pass: the client's one error of verification. `challenge` words it for
//! callers; this is for logs and metrics.

use crate::domain::ids::Scope;
use crate::verify;

/// Why a request does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nobody is known to ask: log in, or refresh.
    #[error("not authenticated: {0}")]
    NotAuthenticated(NotAuthenticated),
    /// It is known who asks, and that they may not.
    #[error("insufficient: {0}")]
    Insufficient(Lacking),
    /// It can't be told now; nothing is wrong with the token as far as is known.
    #[error("unavailable: {0}")]
    Unavailable(Outage),
}

/// Why nobody is known to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthenticated {
    /// The request carries no token.
    #[error("no token")]
    NoToken,
    /// Two tokens, or an `authorization` of another form. Which was meant is not guessed.
    #[error("credentials that are not exactly one bearer token")]
    Ambiguous,
    /// The token fails a check.
    #[error("{0}")]
    Token(verify::Rejection),
    /// The token is for other services (RFC 9068, section 4).
    #[error("a token for another audience")]
    WrongAudience,
    /// The token is bound to a key, and nothing here sees that key proven (RFC 9449, section 7.1).
    #[error("a token bound to a key")]
    BoundToKey,
    /// The authority was asked, and it is not active.
    #[error("not active")]
    NotActive,
}

/// What whoever asks does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lacking {
    /// A scope.
    #[error("scope {0}")]
    Scope(Scope),
    /// A role.
    #[error("role {0}")]
    Role(String),
    /// A claim of the wanted value.
    #[error("claim {0}")]
    Claim(String),
}

/// What could not be learnt from the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// The keys, or whether there is one of that name.
    #[error("the key set can't be read")]
    Keys,
    /// Whether the token was revoked meanwhile.
    #[error("revocations are known only up to too long ago")]
    Revocations,
    /// Whether the token is active.
    #[error("the token can't be introspected")]
    Introspection,
}
