//! Why a token was refused: for logs and metrics. Whoever presented it gets one answer for all.

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// More than 8 KiB; nothing of it was read.
    #[error("larger than a token may be")]
    TooLarge,
    /// Not a compact JWS of two JSON objects (RFC 7515, section 7.1).
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// `crit`, `b64` or `zip`: an extension that would change what the rest means.
    #[error("a header extension that is not understood")]
    UnsupportedExtension,
    /// `typ` is not `at+jwt` (RFC 9068, section 4).
    #[error("not an access token by its typ")]
    WrongType,
    /// `alg` is unknown, or not the one of the key that `kid` names (RFC 8725, section 3.1).
    #[error("an algorithm that the key does not have")]
    WrongAlgorithm,
    /// No key of that `kid`.
    #[error("unknown key")]
    UnknownKey,
    /// The key belongs to another realm.
    #[error("a token of another realm")]
    WrongRealm,
    /// The signature is not the key's.
    #[error("bad signature")]
    BadSignature,
    /// Signed by the key, and yet this claim is absent or of the wrong type.
    #[error("claim {0:?} is missing or invalid")]
    InvalidClaim(&'static str),
    /// `iss` is not one of the realm's issuers.
    #[error("wrong issuer")]
    WrongIssuer,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
    /// `nbf` lies ahead.
    #[error("not yet valid")]
    NotYetValid,
    /// Ended before its time.
    #[error("revoked")]
    Revoked,
}

impl Rejection {
    /// A constant name, for a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
            Self::UnsupportedExtension => "unsupported_extension",
            Self::WrongType => "wrong_type",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::WrongRealm => "wrong_realm",
            Self::BadSignature => "bad_signature",
            Self::InvalidClaim(_) => "invalid_claim",
            Self::WrongIssuer => "wrong_issuer",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
        }
    }

    /// Whether the realm had made the token: only then may an answer tell reasons apart.
    pub const fn authenticated(self) -> bool {
        matches!(self, Self::Expired | Self::NotYetValid | Self::Revoked)
    }
}
