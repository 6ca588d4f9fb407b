//! Which keys and which issuers belong to a realm: maps in memory, read at each check. What a token
//! names is only ever looked up here; nothing is fetched.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use super::public_key::{InvalidKey, PublicKey};
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::{KeyId, RealmName};
use crate::domain::token_profile::TokenProfile;

/// The shortest HMAC key (RFC 7518, section 3.2).
const HMAC_MIN_BYTES: usize = 32;

enum Parsed {
    Public(PublicKey, ParsedPublicKey),
    /// Boxed: ten times the size of the other.
    Secret(Box<hmac::Key>),
}

/// A key that signatures are checked with: one realm, one algorithm, one type of token.
pub struct VerifyKey {
    realm: RealmName,
    kid: KeyId,
    algorithm: Algorithm,
    parsed: Parsed,
}

impl VerifyKey {
    /// From the public half. The `kid` is computed, never taken from outside, so a `kid` can't be
    /// made to name another key.
    pub fn new(realm: RealmName, public: PublicKey) -> Result<Self, InvalidKey> {
        let parsed = public.parse()?;
        let (kid, algorithm) = (public.thumbprint(), public.algorithm());
        Ok(Self { realm, kid, algorithm, parsed: Parsed::Public(public, parsed) })
    }

    /// From an HS256 secret of at least 32 bytes. Has no public half, and no JWK.
    pub fn secret(realm: RealmName, secret: &[u8]) -> Result<Self, InvalidKey> {
        let (kid, key) = hmac_key(secret)?;
        Ok(Self::parsed_secret(realm, kid, key))
    }

    pub(crate) fn parsed_secret(realm: RealmName, kid: KeyId, key: Box<hmac::Key>) -> Self {
        Self { realm, kid, algorithm: Algorithm::Hs256, parsed: Parsed::Secret(key) }
    }

    /// The realm that signs with it.
    pub fn realm(&self) -> &RealmName {
        &self.realm
    }

    /// Its name in a token's header.
    pub fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// The one algorithm that it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What may be published; `None` for a symmetric key.
    pub fn public(&self) -> Option<&PublicKey> {
        match &self.parsed {
            Parsed::Public(public, _) => Some(public),
            Parsed::Secret(_) => None,
        }
    }

    /// Whether `signature` is this key's over `message`. In constant time for HMAC.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.parsed {
            Parsed::Public(_, key) => key.verify_sig(message, signature).is_ok(),
            Parsed::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyKey({} {} {})", self.realm, self.algorithm, self.kid)
    }
}

/// The parsed key and its `kid`. Not the RFC 7638 thumbprint, which for a symmetric key is a plain
/// hash of the secret (section 7 warns): a MAC of a text that is no signing input.
pub(crate) fn hmac_key(secret: &[u8]) -> Result<(KeyId, Box<hmac::Key>), InvalidKey> {
    if secret.len() < HMAC_MIN_BYTES {
        return Err(InvalidKey::WrongSize);
    }
    let key = Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret));
    let kid = URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"token-authority kid"));
    Ok((KeyId::parse(&kid).map_err(|_| InvalidKey::Rejected)?, key))
}

/// A `kid` that already names a key of another realm or algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kid {0} already belongs to another realm or algorithm")]
pub struct KeyConflict(pub KeyId);

/// Every key that a token may be signed with, by `kid`.
#[derive(Debug, Default)]
pub struct KeySet(RwLock<Keys>);

#[derive(Debug, Default)]
struct Keys {
    by_kid: HashMap<KeyId, Arc<VerifyKey>>,
    /// One of each realm and algorithm that has any.
    stand_ins: HashMap<(RealmName, Algorithm), Arc<VerifyKey>>,
}

impl KeySet {
    /// Adds a key. Adding it again changes nothing.
    pub fn install(&self, key: VerifyKey) -> Result<(), KeyConflict> {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match keys.by_kid.get(&key.kid) {
            Some(known) if known.realm == key.realm && known.algorithm == key.algorithm => Ok(()),
            Some(_) => Err(KeyConflict(key.kid)),
            None => {
                let key = Arc::new(key);
                keys.stand_ins.insert((key.realm.clone(), key.algorithm), Arc::clone(&key));
                keys.by_kid.insert(key.kid.clone(), key);
                Ok(())
            }
        }
    }

    /// Forgets a key: its tokens are refused from now on, cached or not.
    pub fn remove(&self, kid: &KeyId) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(removed) = keys.by_kid.remove(kid) else { return };
        let of_its_kind = |key: &&Arc<VerifyKey>| (&key.realm, key.algorithm) == (&removed.realm, removed.algorithm);
        let next = keys.by_kid.values().find(of_its_kind).cloned();
        let kind = (removed.realm.clone(), removed.algorithm);
        match next {
            Some(next) => keys.stand_ins.insert(kind, next),
            None => keys.stand_ins.remove(&kind),
        };
    }

    /// The key of that name.
    pub fn key(&self, kid: &KeyId) -> Option<Arc<VerifyKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_kid.get(kid).cloned()
    }

    /// Some key of the realm and algorithm, if there is one.
    pub(super) fn stand_in(&self, realm: &RealmName, algorithm: Algorithm) -> Option<Arc<VerifyKey>> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.stand_ins.get(&(realm.clone(), algorithm)).cloned()
    }

    /// A realm's keys in the order of a JWKS: RSA first, and always the same.
    pub fn of_realm(&self, realm: &RealmName) -> Vec<Arc<VerifyKey>> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<_> = keys.by_kid.values().filter(|key| key.realm == *realm).cloned().collect();
        keys.sort_by(|a, b| (a.algorithm, &a.kid).cmp(&(b.algorithm, &b.kid)));
        keys
    }
}

/// Who issues a realm's tokens, and what these say.
#[derive(Debug)]
pub struct Issuer {
    /// Today's first. Several, because a changed public URL must not log anyone out.
    accepted: Box<[String]>,
    profile: Arc<TokenProfile>,
}

impl Issuer {
    /// Whether `issuer` is one of the realm's, byte for byte (RFC 9068, section 4).
    pub fn accepts(&self, issuer: &str) -> bool {
        self.accepted.iter().any(|accepted| accepted == issuer)
    }

    /// The `iss` of a token issued today.
    pub fn today(&self) -> &str {
        self.accepted.first().map_or("", String::as_str)
    }

    /// Which registered claims a token has: the realm's word, never the token's choice.
    pub fn profile(&self) -> &Arc<TokenProfile> {
        &self.profile
    }
}

/// The issuer of each realm.
#[derive(Debug, Default)]
pub struct Issuers(RwLock<HashMap<RealmName, Arc<Issuer>>>);

impl Issuers {
    /// Sets a realm's `iss` values and the profile of its tokens; nothing of what was set earlier stays.
    pub fn set(&self, realm: RealmName, accepted: impl IntoIterator<Item = String>, profile: Arc<TokenProfile>) {
        let issuer = Issuer { accepted: accepted.into_iter().collect(), profile };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(realm, Arc::new(issuer));
    }

    /// The realm's.
    pub fn of(&self, realm: &RealmName) -> Option<Arc<Issuer>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(realm).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(name: &str) -> RealmName {
        RealmName::parse(name).expect("a realm")
    }

    #[test]
    fn a_kid_belongs_to_one_realm_and_algorithm() {
        let keys = KeySet::default();
        let key = || VerifyKey::secret(realm("a"), &[7; 32]).expect("a key");
        keys.install(key()).expect("new");
        keys.install(key()).expect("the same again");
        let stolen = VerifyKey::secret(realm("b"), &[7; 32]).expect("a key");
        assert_eq!(keys.install(stolen), Err(KeyConflict(key().kid().clone())));
        assert_eq!(keys.key(key().kid()).expect("still there").realm(), &realm("a"));
        assert!(keys.of_realm(&realm("b")).is_empty());
        keys.remove(key().kid());
        assert!(keys.key(key().kid()).is_none());
    }

    #[test]
    fn a_stand_in_is_of_its_realm_and_algorithm_as_long_as_there_is_one() {
        let keys = KeySet::default();
        let key = |seed: u8| VerifyKey::secret(realm("a"), &[seed; 32]).expect("a key");
        let kid = || keys.stand_in(&realm("a"), Algorithm::Hs256).map(|key| key.kid().clone());
        assert_eq!(kid(), None);
        for seed in [1, 2] {
            keys.install(key(seed)).expect("new");
        }
        assert_eq!(kid().as_ref(), Some(key(2).kid()));
        assert!(keys.stand_in(&realm("b"), Algorithm::Hs256).is_none());
        assert!(keys.stand_in(&realm("a"), Algorithm::Rs256).is_none());
        keys.remove(key(2).kid());
        assert_eq!(kid().as_ref(), Some(key(1).kid()));
        keys.remove(key(1).kid());
        assert_eq!(kid(), None);
    }

    #[test]
    fn a_secret_has_nothing_to_publish_and_a_minimum_length() {
        let key = VerifyKey::secret(realm("a"), &[7; 32]).expect("a key");
        assert_eq!(key.public(), None);
        for short in [0, 16, 31] {
            assert_eq!(VerifyKey::secret(realm("a"), &vec![7; short]).err(), Some(InvalidKey::WrongSize));
        }
    }

    #[test]
    fn issuers_compare_byte_for_byte() {
        let issuers = Issuers::default();
        let accepted = ["https://new.example".to_owned(), "https://old.example".to_owned()];
        issuers.set(realm("a"), accepted, Arc::default());
        let issuer = issuers.of(&realm("a")).expect("set");
        assert!(issuer.accepts("https://old.example"));
        assert_eq!(issuer.today(), "https://new.example");
        for wrong in ["", "https://old.example/", "HTTPS://old.example", "https://old.exampl"] {
            assert!(!issuer.accepts(wrong), "{wrong}");
        }
        assert!(issuers.of(&realm("b")).is_none());
    }
}
