//! Signature algorithms (RFC 7518, section 3.1; RFC 8037). An exact list: no `none`, ever.

use std::fmt;

/// A JWS algorithm that a realm may sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// Ed25519 (RFC 8037).
    EdDsa,
}

impl Algorithm {
    /// Every algorithm, in the order in which a JWKS lists its keys: RSA first.
    pub const ALL: [Self; 2] = [Self::Rs256, Self::EdDsa];

    /// The registered name, as in the `alg` header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Parses the registered name, letter for letter (RFC 7515, section 4.1.1: case-sensitive).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
