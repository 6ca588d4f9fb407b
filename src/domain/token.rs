//! What an access token and a refresh token say, before any encoding.

use std::fmt;
use std::mem;
use std::ops::Deref;
use std::sync::Arc;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::claims::Claims;
use super::ids::{Audience, ClientId, KeyNumber, RealmName, Scope, Sid, Subject, TokenId};
use super::time::Timestamp;
use super::token_profile::TokenProfile;

/// How a token is bound to a key of its holder (`cnf`, RFC 7800).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// `jkt`: the RFC 7638 SHA-256 thumbprint of a DPoP key (RFC 9449, section 6.1).
    JwkThumbprint([u8; 32]),
    /// `x5t#S256`: the SHA-256 of a client certificate (RFC 8705, section 3.1).
    CertificateThumbprint([u8; 32]),
}

/// Everything that a signed access token says (RFC 9068, section 2.2).
#[derive(Debug, Clone, PartialEq)]
pub struct AccessToken {
    /// `jti`.
    pub id: TokenId,
    /// Selects issuer and key; not itself a claim.
    pub realm: RealmName,
    /// Which of the rest it says by claims of its own.
    pub profile: Arc<TokenProfile>,
    /// Which of the realm's keys signs it.
    pub key: KeyNumber,
    /// `sub`.
    pub subject: Subject,
    /// `client_id`.
    pub client: ClientId,
    /// `aud`: at least one.
    pub audience: Vec<Audience>,
    /// `scope`, space-separated; absent if empty.
    pub scope: Vec<Scope>,
    /// The subject's own claims.
    pub claims: Claims,
    /// `cnf`.
    pub confirmation: Option<Confirmation>,
    /// `act`: who acts for the subject, where the token was exchanged.
    pub actor: Option<Actor>,
    /// `sid`: absent for a token without a session.
    pub session: Option<Sid>,
    /// `sid_client_id`: the session's client, where the token was exchanged and has another.
    pub session_client: Option<ClientId>,
    /// `iat`, whole seconds.
    pub issued: Timestamp,
    /// `exp`, whole seconds.
    pub expires: Timestamp,
}

/// Who acts with a token for its subject (`act`, RFC 8693, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `sub`.
    pub subject: Subject,
    /// Who acted before.
    pub actor: Option<Box<Actor>>,
}

impl Actor {
    /// How many parties have acted.
    pub fn length(&self) -> usize {
        1 + self.actor.as_ref().map_or(0, |actor| actor.length())
    }
}

/// A token, or what is taken for one, as it was presented: it opens what it opens for whoever reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedToken(String);

impl Drop for PresentedToken {
    fn drop(&mut self) {
        let bytes = cleared(mem::take(&mut self.0));
        // What nothing reads before it is freed, a compiler need not write.
        zeroize::optimization_barrier(&*bytes);
    }
}

impl ZeroizeOnDrop for PresentedToken {}

/// All of a text's memory, overwritten in one go: `zeroize` writes byte by byte, which takes half as long as to look
/// a token up.
fn cleared(text: String) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    bytes.clear();
    bytes.resize(bytes.capacity(), 0);
    bytes
}

impl From<String> for PresentedToken {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Deref for PresentedToken {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresentedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedToken(..)")
    }
}

/// 16 random bytes that prove a refresh token to its session.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionSecret([u8; 16]);

impl SessionSecret {
    /// From randomness, or from the record.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be sealed.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for SessionSecret {
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
    }
}

impl Eq for SessionSecret {}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

/// What a refresh token seals. Never stored: the record has the secret and the generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session that it continues.
    pub session: Sid,
    /// Proof that this authority made it for that session.
    pub secret: SessionSecret,
    /// How often the session's refresh token had been replaced when this one was made.
    pub generation: u64,
    /// When the session's absolute lifetime is over: an expired token is told without reading.
    pub expires: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_presented_token_nothing_stays_in_memory() {
        let mut text = String::with_capacity(64);
        text.push_str("a long token whose end was overwritten by nothing");
        text.truncate(6);
        assert_eq!(cleared(text), [0; 64]);
    }
}
