//! Signature algorithms (RFC 7518, section 3.1; RFC 8037). An exact list: no `none`, ever.

use std::fmt;

/// A JWS algorithm that a realm may sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256 and a salt of the digest's length.
    Ps256,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519 (RFC 8037).
    EdDsa,
    /// HMAC with SHA-256. Its key is a secret: never published, so whoever validates introspects.
    Hs256,
}

impl Algorithm {
    /// Every algorithm, in the order in which a JWKS lists its keys: RSA first.
    pub const ALL: [Self; 5] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa, Self::Hs256];

    /// The registered name, as in the `alg` header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_parse() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::parse(&algorithm.name().to_ascii_lowercase()), None);
        }
        for name in ["", "none", "None", "NONE", "RS256 ", "Ed25519", "RS1", "HS512"] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
    }
}
