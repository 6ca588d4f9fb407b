//! A realm in service: its policy with the secrets and keys that its record holds. The record is
//! made at the first start; whoever starts later, or at the same time, finds it.

use std::sync::Arc;

use prost::Message;
use zeroize::Zeroizing;

use crate::domain::algorithm::Algorithm;
use crate::domain::ids::{KeyId, KeyNumber, Subject, SubjectKey};
use crate::domain::policy::RealmPolicy;
use crate::domain::session::Place;
use crate::domain::time::Timestamp;
use crate::signing::key::SigningKey;
use crate::signing::pepper::Pepper;
use crate::signing::refresh_token::RefreshKey;

use super::error::Error;
use super::ports::{Clock, Commit, Entropy, Outcome, RecordKey, Store, Version};

const FORMAT: u32 = 1;
/// How many public URLs a realm remembers: a changed one logs nobody out.
const REMEMBERED_ISSUERS: usize = 8;
const PEPPER_ID: u8 = 1;

/// A realm in service.
#[derive(Debug)]
pub struct Realm {
    /// What it allows.
    pub policy: RealmPolicy,
    /// The `iss` of the tokens that it issues (RFC 8414, section 2).
    pub issuer: Arc<str>,
    /// The `iss` values of tokens that it accepts: today's and earlier ones.
    pub issuers: Vec<Arc<str>>,
    /// Opens and seals refresh tokens.
    pub refresh_key: RefreshKey,
    /// The key that signs now.
    pub active: KeyNumber,
    /// All keys that may sign or have signed, by number.
    pub keys: Vec<(KeyNumber, Arc<SigningKey>)>,
    pepper: Pepper,
}

impl Realm {
    /// Where a subject's record stands.
    pub fn place(&self, subject: &Subject) -> Place {
        self.place_of(self.pepper.subject_key(subject))
    }

    /// Where the record with this key stands.
    pub fn place_of(&self, subject: SubjectKey) -> Place {
        Place { pepper_id: PEPPER_ID, subject }
    }

    /// Whether a place can be in this realm. Which pepper made the key is all that can be told
    /// without reading: a key of another realm leads to no record.
    pub fn knows(&self, place: Place) -> bool {
        place.pepper_id == PEPPER_ID
    }

    /// The record of a place.
    pub fn record_key(&self, place: Place) -> RecordKey {
        RecordKey::subject(self.policy.realm.clone(), place.subject)
    }

    /// Reads the realm's record, or makes it: secrets, and a key of the policy's algorithm.
    pub async fn open(
        policy: RealmPolicy,
        issuer: &str,
        store: &dyn Store,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, Error> {
        let key = RecordKey::realm(policy.realm.clone());
        for _ in 0..16 {
            let stored = store.load(&key).await?;
            let expected = stored.as_ref().map(|stored| stored.version);
            let mut state = match &stored {
                Some(stored) => decode(&stored.bytes)?,
                None => StateV1::new(entropy),
            };
            if !state.complete(policy.algorithm, issuer, clock.now())? {
                return state.into_realm(policy, issuer);
            }
            let mut id = [0; 16];
            entropy.fill(&mut id);
            let commit = Commit {
                id: Version(id),
                key: key.clone(),
                expected,
                bytes: state.encode_to_vec(),
                expires: None,
                revocations: Vec::new(),
            };
            if let Outcome::Committed(_) = store.commit(&commit).await? {
                return state.into_realm(policy, issuer);
            }
        }
        Err(Error::Overloaded)
    }
}

fn decode(bytes: &[u8]) -> Result<StateV1, Error> {
    let state = StateV1::decode(bytes).map_err(Error::internal)?;
    if state.format != FORMAT {
        return Err(Error::internal(format!("realm record of format {}, this version reads {FORMAT}", state.format)));
    }
    Ok(state)
}

/// Everything in it is secret.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StateV1 {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "vec", tag = "2")]
    pepper: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    refresh_key: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    keys: Vec<KeyV1>,
    /// Newest first.
    #[prost(string, repeated, tag = "5")]
    issuers: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct KeyV1 {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(string, tag = "2")]
    algorithm: String,
    #[prost(bytes = "vec", tag = "3")]
    pkcs8: Vec<u8>,
    #[prost(int64, tag = "4")]
    created: i64,
}

impl std::fmt::Debug for StateV1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateV1(..)")
    }
}

impl std::fmt::Debug for KeyV1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyV1(..)")
    }
}

impl Drop for StateV1 {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.pepper);
        zeroize::Zeroize::zeroize(&mut self.refresh_key);
    }
}

impl Drop for KeyV1 {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.pkcs8);
    }
}

impl StateV1 {
    fn new(entropy: &dyn Entropy) -> Self {
        let mut secrets = Zeroizing::new([0; 32 + RefreshKey::BYTES]);
        entropy.fill(&mut secrets[..]);
        Self {
            format: FORMAT,
            pepper: secrets[..32].to_vec(),
            refresh_key: secrets[32..].to_vec(),
            keys: Vec::new(),
            issuers: Vec::new(),
        }
    }

    /// Adds what the policy asks for and is not there; whether anything was.
    fn complete(&mut self, algorithm: Algorithm, issuer: &str, now: Timestamp) -> Result<bool, Error> {
        let mut changed = false;
        if self.issuers.first().map(String::as_str) != Some(issuer) {
            self.issuers.retain(|known| known != issuer);
            self.issuers.insert(0, issuer.to_owned());
            self.issuers.truncate(REMEMBERED_ISSUERS);
            changed = true;
        }
        if !self.keys.iter().any(|key| key.algorithm == algorithm.name()) {
            let number = self.keys.iter().map(|key| key.number).max().unwrap_or(0) + 1;
            let pkcs8 = SigningKey::generate(algorithm).map_err(Error::internal)?.to_vec();
            self.keys.push(KeyV1 { number, algorithm: algorithm.name().to_owned(), pkcs8, created: now.millis() });
            changed = true;
        }
        Ok(changed)
    }

    fn into_realm(self, policy: RealmPolicy, issuer: &str) -> Result<Realm, Error> {
        let mut keys = Vec::new();
        for key in &self.keys {
            let algorithm = Algorithm::parse(&key.algorithm)
                .ok_or_else(|| Error::internal(format!("unknown algorithm {:?} in the realm record", key.algorithm)))?;
            let parsed = SigningKey::from_pkcs8(algorithm, &key.pkcs8).map_err(Error::internal)?;
            keys.push((KeyNumber(key.number), Arc::new(parsed)));
        }
        let active = keys
            .iter()
            .filter(|(_, key)| key.algorithm() == policy.algorithm)
            .map(|(number, _)| *number)
            .max()
            .ok_or(Error::NoSigningKey)?;
        let damaged = |_| Error::internal("the realm record is damaged");
        Ok(Realm {
            issuer: issuer.into(),
            issuers: self.issuers.iter().map(|issuer| issuer.as_str().into()).collect(),
            refresh_key: RefreshKey::new(self.refresh_key.as_slice().try_into().map_err(damaged)?),
            pepper: Pepper::new(PEPPER_ID, self.pepper.as_slice().try_into().map_err(damaged)?),
            active,
            keys,
            policy,
        })
    }
}

/// The `kid` of each key, for logs and the JWKS.
impl Realm {
    /// The `kid` of the key that signs now.
    pub fn active_kid(&self) -> Option<&KeyId> {
        self.keys.iter().find(|(number, _)| *number == self.active).map(|(_, key)| key.kid())
    }
}
