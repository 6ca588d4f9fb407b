//! Turns a subject into the key of its record, so that no phone number or user name is a key. One
//! pepper a realm for its life; who keeps it is not known here.

use std::fmt;

use aws_lc_rs::hmac;

use crate::domain::ids::{Subject, SubjectKey};

use super::code_key::CodeKey;

/// A realm's secret for hashing subjects. Held parsed; aws-lc clears it when it is dropped.
pub struct Pepper {
    id: u8,
    key: hmac::Key,
}

impl Pepper {
    /// From 32 random bytes, and the id that `sid` carries to tell peppers apart.
    pub fn new(id: u8, bytes: &[u8; 32]) -> Self {
        Self { id, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    /// The id that `sid` carries.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The realm's key for one-time codes. No subject is that text: it has a control character.
    pub fn code_key(&self) -> CodeKey {
        CodeKey::new(hmac::sign(&self.key, b"\0one-time codes").as_ref())
    }

    /// HMAC-SHA-256 cut to 16 bytes (RFC 2104, section 5).
    pub fn subject_key(&self, subject: &Subject) -> SubjectKey {
        let tag = hmac::sign(&self.key, subject.as_str().as_bytes());
        SubjectKey(*tag.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({}, ..)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Subject {
        Subject::parse(text).expect("a subject")
    }

    /// Computed by another implementation of HMAC. Records lie under such keys: it must not change.
    #[test]
    fn the_key_of_a_record_stays() {
        let key = Pepper::new(1, &[7; 32]).subject_key(&subject("+491701234567"));
        assert_eq!(key.0, GOLDEN);
    }

    const GOLDEN: [u8; 16] =
        [0x49, 0x13, 0x1e, 0x36, 0x5a, 0x77, 0xaf, 0xa3, 0xfe, 0x86, 0x33, 0x96, 0xc6, 0xa7, 0x0c, 0x2d];

    #[test]
    fn another_pepper_or_subject_is_another_key() {
        let key = |pepper, text: &str| Pepper::new(1, &[pepper; 32]).subject_key(&subject(text));
        assert_ne!(key(7, "alice"), key(8, "alice"));
        assert_ne!(key(7, "alice"), key(7, "alicf"));
        assert_eq!(format!("{:?}", Pepper::new(3, &[7; 32])), "Pepper(3, ..)");
    }
}
