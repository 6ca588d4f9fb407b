//! Why the rules say no. Each variant is one reason of the API; how it is worded and coded is not
//! known here.

use super::ids::{Audience, Scope};
use super::rate_limit::RateLimited;

/// A refusal by the rules. It is final for this request, unless it says when to come again: the same
/// would be refused again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a token of this realm, or not of this session.
    #[error("the refresh token is not valid")]
    RefreshTokenInvalid,
    /// The session's absolute lifetime is over.
    #[error("the refresh token has expired")]
    RefreshTokenExpired,
    /// A consumed token came back: the session has been ended (RFC 9700, section 4.14.2).
    #[error("the refresh token was used before; its session has been ended")]
    RefreshTokenReplayed,
    /// Another presentation of the same token came first, just now. The session lives on.
    #[error("the refresh token has just been used by another request")]
    RefreshTokenSuperseded,
    /// The session was ended, or is not known.
    #[error("the session has ended")]
    SessionEnded,
    /// The session was not used for longer than its idle timeout.
    #[error("the session has ended for inactivity")]
    SessionIdle,
    /// The request id was used for another request just now.
    #[error("the request_id was used for another request within 10 minutes")]
    RequestIdReused,
    /// The subject has as many sessions as the realm allows.
    #[error("the subject has as many sessions as the realm allows")]
    SessionLimitReached,
    /// Too often. The same is admitted later, and nothing has changed by it.
    #[error("the limit {} is reached: wait, and send the same again", .0.limit.name())]
    RateLimited(RateLimited),
    /// The token belongs to another client. Its session lives on.
    #[error("the token was issued to another client")]
    ClientMismatch,
    /// The token is bound to another key.
    #[error("the token is bound to another key")]
    ConfirmationMismatch,
    /// The realm wants a trusted device, or the one that it knows has changed.
    #[error("the device is not trusted")]
    DeviceNotTrusted,
    /// The subject has not used a device of that id.
    #[error("the subject has no such device")]
    UnknownDevice,
    /// The client is not registered for what it asks.
    #[error("the client is not registered for this")]
    ClientNotPermitted,
    /// A token that can't be exchanged, and why.
    #[error("{0}")]
    NotExchangeable(&'static str),
    /// A scope that the realm doesn't grant, or that the session doesn't have.
    #[error("scope {:?} may not be granted", .0.as_str())]
    ScopeNotGranted(Scope),
    /// An audience that the realm doesn't know, or that the session doesn't have.
    #[error("audience {:?} is not allowed", .0.as_str())]
    AudienceNotAllowed(Audience),
    /// A claim that the authority sets itself, that the realm doesn't allow, or that is too large.
    #[error("{field} {problem}")]
    ClaimNotAllowed {
        /// The claim, such as `claims.role`.
        field: String,
        /// What is allowed.
        problem: String,
    },
}

impl Refusal {
    /// Whether it says why a refresh token is no longer answered: what a realm may fold into one. A
    /// superseded one is not among them, since its session lives on and its holder may go on.
    pub const fn is_of_refresh_token(&self) -> bool {
        match self {
            Self::RefreshTokenInvalid
            | Self::RefreshTokenExpired
            | Self::RefreshTokenReplayed
            | Self::SessionEnded
            | Self::SessionIdle
            | Self::ClientMismatch
            | Self::ConfirmationMismatch => true,
            Self::RefreshTokenSuperseded
            | Self::RequestIdReused
            | Self::SessionLimitReached
            | Self::RateLimited(_)
            | Self::DeviceNotTrusted
            | Self::UnknownDevice
            | Self::ClientNotPermitted
            | Self::NotExchangeable(_)
            | Self::ScopeNotGranted(_)
            | Self::AudienceNotAllowed(_)
            | Self::ClaimNotAllowed { .. } => false,
        }
    }

    /// As logs say it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RefreshTokenInvalid => "refresh_token_invalid",
            Self::RefreshTokenExpired => "refresh_token_expired",
            Self::RefreshTokenReplayed => "refresh_token_replayed",
            Self::RefreshTokenSuperseded => "refresh_token_superseded",
            Self::SessionEnded => "session_ended",
            Self::SessionIdle => "session_idle",
            Self::RequestIdReused => "request_id_reused",
            Self::SessionLimitReached => "session_limit_reached",
            Self::RateLimited(_) => "rate_limited",
            Self::ClientMismatch => "client_mismatch",
            Self::ConfirmationMismatch => "confirmation_mismatch",
            Self::DeviceNotTrusted => "device_not_trusted",
            Self::UnknownDevice => "unknown_device",
            Self::ClientNotPermitted => "client_not_permitted",
            Self::NotExchangeable(_) => "not_exchangeable",
            Self::ScopeNotGranted(_) => "scope_not_granted",
            Self::AudienceNotAllowed(_) => "audience_not_allowed",
            Self::ClaimNotAllowed { .. } => "claim_not_allowed",
        }
    }
}

impl From<RateLimited> for Refusal {
    fn from(limited: RateLimited) -> Self {
        Self::RateLimited(limited)
    }
}
