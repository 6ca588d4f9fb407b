//! A registered client with what proves it: hashes of secrets, public keys. Compares in constant time,
//! and knows neither how a proof was sent nor what was proven before.

use std::fmt;

use aws_lc_rs::digest;
use subtle::ConstantTimeEq as _;

use super::client_assertion::ClientAssertion;
use super::public_key::PublicKey;
use super::rejection::Rejection;
use crate::domain::caller_name::{CertificateName, ServiceAccount};
use crate::domain::client::Client;
use crate::domain::time::Timestamp;

/// The shortest secret: 22 characters of base64url are 128 random bits. An unsalted hash is safe only
/// because nobody can go through those, and quick enough to be made at each call for the same reason.
const SECRET_MIN_BYTES: usize = 22;
/// What a hash starts with, so that another algorithm can follow.
const SHA256: &str = "sha256:";

/// The SHA-256 of a client's secret.
#[derive(Clone)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Of a secret; `None` if that is too short to be random enough.
    pub fn of(secret: &str) -> Option<Self> {
        let hash = digest::digest(&digest::SHA256, secret.as_bytes());
        (secret.len() >= SECRET_MIN_BYTES).then(|| Self(std::array::from_fn(|i| hash.as_ref()[i])))
    }

    /// Parses the text form: `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(SHA256)?;
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHA256)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// A client as the operator registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredClient {
    /// What it may do.
    pub client: Client,
    /// Any of these proves it: two, so that one can be replaced while the other is in use.
    pub secrets: Vec<SecretHash>,
    /// So does a signature by any of these (RFC 7523, section 2.2),
    pub keys: Vec<PublicKey>,
    /// a certificate with any of these names (RFC 8705, section 2.1),
    pub certificates: Vec<CertificateName>,
    /// and a token of any of these accounts.
    pub service_accounts: Vec<ServiceAccount>,
}

impl RegisteredClient {
    /// Whether it is the hash of one of the client's secrets.
    pub fn has_secret(&self, hash: &SecretHash) -> bool {
        // No early end: how long it takes says nothing of which one it was.
        self.secrets.iter().fold(false, |found, one| found | (one == hash))
    }

    /// Checks an assertion by the client's keys; `accepted` are the audiences that mean this server.
    pub fn check(&self, assertion: &ClientAssertion<'_>, accepted: &[&str], now: Timestamp) -> Result<(), Rejection> {
        assertion.check(&self.keys, accepted, now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::ids::ClientId;
    use crate::domain::policy::Allowed;

    #[test]
    fn either_secret_proves_the_client_and_no_other_does() {
        let (old, new) = ("0123456789012345678901", "abcdefghijklmnopqrstuvwxyz");
        let client = RegisteredClient {
            client: Client {
                id: ClientId::parse("a").expect("a client"),
                grants: BTreeSet::new(),
                audiences: Allowed::Any,
                scopes: Allowed::Any,
                roles: BTreeSet::new(),
            },
            secrets: [old, new].map(|secret| SecretHash::of(secret).expect("long enough")).into(),
            keys: Vec::new(),
            certificates: Vec::new(),
            service_accounts: Vec::new(),
        };
        for (secret, proves) in [(old, true), (new, true), ("0123456789012345678902", false), ("", false)] {
            let hash = SecretHash::of(secret);
            assert_eq!(hash.is_some_and(|hash| client.has_secret(&hash)), proves, "{secret}");
        }
    }

    #[test]
    fn a_hash_is_what_sha256sum_prints_and_a_short_secret_has_none() {
        let text = "sha256:4b52c0a07ab3d226a4ac12dafe3a5d9dcbd1bfd6ed75ec1d01a2e2f5f7a4d9f6";
        assert_eq!(SecretHash::parse(text).expect("a hash").to_string(), text);
        let known = SecretHash::of("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").expect("long enough");
        assert_eq!(known.to_string(), "sha256:b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
        assert_eq!(SecretHash::of("012345678901234567890"), None);
        for wrong in
            ["", "sha256:", "sha256:ab", &text[..70], &text.replace("4b", "4g"), &text.replace("sha256", "md5")]
        {
            assert_eq!(SecretHash::parse(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{known:?}"), "SecretHash(..)");
    }
}
