//! Refresh tokens as text: sealed with a key, so that garbage is refused before any I/O, and the same
//! generation is always the same string. Whether the session goes on is not known here.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::domain::ids::{RealmName, Sid};
use crate::domain::time::Timestamp;
use crate::domain::token::{RefreshToken, SessionSecret};

/// Lets secret scanners find a leaked token.
const PREFIX: &str = "tar_";
const ID: usize = 4;
const SID: usize = 33;
const SECRET: usize = 16;
const GENERATION: usize = 8;
const PLAIN: usize = SID + SECRET + GENERATION + 8;
const TAG: usize = 16;
const SEALED: usize = ID + PLAIN + TAG;
const TEXT: usize = PREFIX.len() + (SEALED * 4).div_ceil(3);

/// A key that seals refresh tokens. Held parsed; aws-lc clears it when it is dropped.
pub struct RefreshKey {
    id: [u8; ID],
    key: LessSafeKey,
}

impl RefreshKey {
    /// The length of its bytes.
    pub const BYTES: usize = ID + 32;

    /// From 36 random bytes: the id, by which one of several keys is told, and the AES-256 key.
    pub fn new(bytes: &[u8; Self::BYTES]) -> Self {
        let (id, key) = bytes.split_first_chunk::<ID>().expect("36 bytes are more than 4");
        let key = UnboundKey::new(&AES_256_GCM_SIV, key).expect("32 bytes are an AES-256 key");
        Self { id: *id, key: LessSafeKey::new(key) }
    }

    /// The token as text: 118 characters, and the same ones for the same token.
    ///
    /// The nonce is fixed: AES-GCM-SIV then reveals only that two texts are equal (RFC 8452,
    /// section 9), and equal they are to be.
    pub fn seal(&self, realm: &RealmName, token: &RefreshToken) -> String {
        let mut plain = Zeroizing::new([0; PLAIN]);
        plain[..SID].copy_from_slice(&token.session.to_bytes());
        plain[SID..SID + SECRET].copy_from_slice(token.secret.expose());
        plain[SID + SECRET..][..GENERATION].copy_from_slice(&token.generation.to_be_bytes());
        plain[SID + SECRET + GENERATION..].copy_from_slice(&token.expires.millis().to_be_bytes());
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(), Aad::from(bound_to(realm)), &mut plain[..])
            .expect("65 bytes are far below what AES-GCM-SIV may seal");
        let sealed = [&self.id[..], &plain[..], tag.as_ref()].concat();
        let mut text = String::with_capacity(TEXT);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(sealed, &mut text);
        text
    }

    /// The token, if this key sealed it for this realm. Which check refused it does not show.
    pub fn open(&self, realm: &RealmName, text: &str) -> Option<RefreshToken> {
        if text.len() != TEXT {
            return None;
        }
        let mut sealed = Zeroizing::new([0; SEALED]);
        let length = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix(PREFIX)?, &mut sealed[..]).ok()?;
        let (id, sealed) = sealed.split_first_chunk_mut::<ID>()?;
        if length != SEALED || *id != self.id {
            return None;
        }
        let plain = self.key.open_in_place(nonce(), Aad::from(bound_to(realm)), sealed).ok()?;
        let (sid, rest) = plain.split_first_chunk::<SID>()?;
        let (secret, rest) = rest.split_first_chunk::<SECRET>()?;
        let (generation, expires) = rest.split_first_chunk::<GENERATION>()?;
        Some(RefreshToken {
            session: Sid::from_bytes(sid),
            secret: SessionSecret::new(*secret),
            generation: u64::from_be_bytes(*generation),
            expires: Timestamp::from_millis(i64::from_be_bytes(*expires.first_chunk()?)),
        })
    }
}

impl fmt::Debug for RefreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshKey(..)")
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// A token of one realm opens in no other; nor does anything else that the key might seal one day.
fn bound_to(realm: &RealmName) -> Vec<u8> {
    [b"tar1", realm.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::{SessionId, SubjectKey};

    fn realm(name: &str) -> RealmName {
        RealmName::parse(name).expect("a realm")
    }

    fn key(seed: u8) -> RefreshKey {
        RefreshKey::new(&[seed; RefreshKey::BYTES])
    }

    fn token(generation: u64) -> RefreshToken {
        let session = Sid { pepper_id: 1, subject: SubjectKey([2; 16]), session: SessionId([3; 16]) };
        let expires = Timestamp::from_seconds(1_800_000_000);
        RefreshToken { session, secret: SessionSecret::new([4; 16]), generation, expires }
    }

    /// Computed by another implementation of AES-GCM-SIV. Clients hold such tokens for weeks: the
    /// format must not change.
    #[test]
    fn the_format_stays() {
        let text = key(7).seal(&realm("a"), &token(5));
        assert_eq!(text.len(), 118);
        assert_eq!(text, GOLDEN);
    }

    const GOLDEN: &str = "tar_BwcHB8kTdF_PCt34pkQhGO_OVS2Oal-gRBL8jTwRKhEWaAkTuSyby8auww-HOBklBKeaj_45KI6eX954M6tr2e2JdDwA_x8ui5hmMCp_O2yydSjGfg";

    #[test]
    fn another_key_realm_or_generation_is_another_text() {
        let text = key(7).seal(&realm("a"), &token(5));
        assert_ne!(text, key(7).seal(&realm("a"), &token(6)));
        assert_eq!(key(8).open(&realm("a"), &text), None);
        assert_eq!(key(7).open(&realm("b"), &text), None);
        // The same id in front of another key.
        let mut bytes = [7; RefreshKey::BYTES];
        bytes[ID] ^= 1;
        assert_eq!(RefreshKey::new(&bytes).open(&realm("a"), &text), None);
    }

    #[test]
    fn only_the_one_spelling_opens() {
        let text = key(7).seal(&realm("a"), &token(5));
        let body = &text[PREFIX.len()..];
        // The last character carries bits beyond the last byte: they must be zero.
        let stray = format!("{}{}", &text[..TEXT - 1], if text.ends_with('B') { 'C' } else { 'B' });
        let spellings = [
            String::new(),
            body.to_owned(),
            format!("TAR_{body}"),
            format!("{text}="),
            format!("{text}A"),
            format!(" {text}"),
            text[..TEXT - 1].to_owned(),
            format!("{}=", &text[..TEXT - 1]),
            stray,
            "ü".repeat(TEXT / 2) + "x",
        ];
        for spelling in spellings {
            assert_eq!(key(7).open(&realm("a"), &spelling), None, "{spelling}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(generation: u64, session: [u8; 16], secret: [u8; 16], expires: i64) {
            let session = Sid { pepper_id: 9, subject: SubjectKey(session), session: SessionId(session) };
            let expires = Timestamp::from_millis(expires);
            let token = RefreshToken { session, secret: SessionSecret::new(secret), generation, expires };
            let text = key(7).seal(&realm("a"), &token);
            prop_assert_eq!(&text, &key(7).seal(&realm("a"), &token));
            prop_assert_eq!(key(7).open(&realm("a"), &text), Some(token));
        }

        #[test]
        fn one_changed_character_opens_nothing(at in 0..TEXT, to in "[A-Za-z0-9_-]") {
            let mut text = key(7).seal(&realm("a"), &token(5));
            prop_assume!(text[at..=at] != to);
            text.replace_range(at..=at, &to);
            prop_assert_eq!(key(7).open(&realm("a"), &text), None);
        }

        #[test]
        fn arbitrary_text_never_panics(text: String, body in "tar_[A-Za-z0-9_=-]{110,116}") {
            prop_assert_eq!(key(7).open(&realm("a"), &text), None);
            prop_assert_eq!(key(7).open(&realm("a"), &body), None);
        }
    }
}
