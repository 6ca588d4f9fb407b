//! Hashes the recipients of one-time codes, and the codes: no number is a key, and who reads a record
//! can't go through a million codes. Derived from the realm's pepper; who keeps that is not known here.

use std::fmt;

use aws_lc_rs::hmac;

use crate::domain::one_time_code::{CodeDigest, Recipient};

/// A realm's key for one-time codes. Held parsed; aws-lc clears it when it is dropped.
pub struct CodeKey(hmac::Key);

impl CodeKey {
    /// Of 32 secret bytes.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Which record a recipient has.
    pub fn record(&self, recipient: &Recipient) -> [u8; 16] {
        *self.tag(b"recipient", recipient.as_str()).as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }

    /// The hash of a code of a record.
    pub fn digest(&self, record: &[u8; 16], code: &str) -> CodeDigest {
        *self.tag(record, code).as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }

    /// Whether it is that code's, in constant time.
    pub fn matches(&self, record: &[u8; 16], code: &str, digest: &CodeDigest) -> bool {
        let message = [record.as_slice(), &[0], code.as_bytes()].concat();
        hmac::verify(&self.0, &message, digest).is_ok()
    }

    /// The first part has one of two fixed lengths, so that no two messages are one.
    fn tag(&self, what: &[u8], text: &str) -> hmac::Tag {
        hmac::sign(&self.0, &[what, &[0], text.as_bytes()].concat())
    }
}

impl fmt::Debug for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_of_one_recipient_and_one_key() {
        let (key, other) = (CodeKey::new(&[7; 32]), CodeKey::new(&[8; 32]));
        let recipient = |text: &str| Recipient::parse(text).expect("a recipient");
        let (ann, bob) = (key.record(&recipient("+49170")), key.record(&recipient("+49171")));
        assert_ne!(ann, bob);
        assert_ne!(ann, other.record(&recipient("+49170")));
        let digest = key.digest(&ann, "123456");
        assert!(key.matches(&ann, "123456", &digest));
        assert!(!key.matches(&ann, "123457", &digest) && !key.matches(&bob, "123456", &digest));
        assert!(!other.matches(&ann, "123456", &digest));
        assert_eq!(format!("{key:?}"), "CodeKey(..)");
    }
}
