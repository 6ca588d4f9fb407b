//! How a realm's record is written down: protobuf with a format number. Holds the realm's secrets and
//! keys with their private parts; knows neither seals nor stores.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use zeroize::{Zeroize, Zeroizing};

use crate::domain::algorithm::Algorithm;
use crate::domain::ids::{KeyId, KeyNumber};
use crate::domain::key_ring::{Key, KeyRing};
use crate::domain::subject::RequestId;
use crate::domain::time::Timestamp;
use crate::signing::key::SigningKey;
use crate::signing::pepper::Pepper;
use crate::signing::refresh_token::RefreshKey;

use super::error::Error;
use super::ports::Entropy;

pub(crate) const FORMAT: u32 = 1;
/// How many public URLs a realm remembers: a changed one logs nobody out.
const REMEMBERED_ISSUERS: usize = 8;
/// The only pepper so far.
pub(super) const PEPPER_ID: u8 = 1;

/// Parsed keys, by number.
pub(crate) type Keys = BTreeMap<KeyNumber, Arc<SigningKey>>;

/// A private key as it is stored: PKCS#8, or the secret of HS256.
pub(super) type PrivateKey = Zeroizing<Vec<u8>>;

/// A realm's record.
pub(crate) struct RealmRecord {
    pepper: Zeroizing<Vec<u8>>,
    refresh_key: Zeroizing<Vec<u8>>,
    /// Newest first.
    pub issuers: Vec<String>,
    /// What is decided of the keys.
    pub ring: KeyRing,
    /// Those of the ring, and for a moment fewer or more.
    private: HashMap<KeyNumber, PrivateKey>,
    keys: Keys,
}

impl RealmRecord {
    /// With new secrets, and without keys.
    pub(super) fn new(entropy: &dyn Entropy) -> Self {
        let mut secrets = Zeroizing::new([0; 32 + RefreshKey::BYTES]);
        entropy.fill(&mut secrets[..]);
        Self {
            pepper: Zeroizing::new(secrets[..32].to_vec()),
            refresh_key: Zeroizing::new(secrets[32..].to_vec()),
            issuers: Vec::new(),
            ring: KeyRing::default(),
            private: HashMap::new(),
            keys: Keys::new(),
        }
    }

    /// Hashes subjects.
    pub(super) fn pepper(&self) -> Result<Pepper, Error> {
        Ok(Pepper::new(PEPPER_ID, self.pepper.as_slice().try_into().map_err(damaged)?))
    }

    /// Opens and seals refresh tokens.
    pub(super) fn refresh_key(&self) -> Result<RefreshKey, Error> {
        Ok(RefreshKey::new(self.refresh_key.as_slice().try_into().map_err(damaged)?))
    }

    /// The ring's keys, parsed.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whose `kid` it is.
    pub(super) fn number(&self, kid: &KeyId) -> Option<KeyNumber> {
        self.keys.iter().find(|(_, key)| key.kid() == kid).map(|(number, _)| *number)
    }

    /// Takes the issuer as today's.
    pub(super) fn remember_issuer(&mut self, issuer: &str) {
        if self.issuers.first().map(String::as_str) != Some(issuer) {
            self.issuers.retain(|known| known != issuer);
            self.issuers.insert(0, issuer.to_owned());
            self.issuers.truncate(REMEMBERED_ISSUERS);
        }
    }

    /// Keys that the ring has and that are still to be made.
    pub(super) fn missing(&self) -> Vec<(KeyNumber, Algorithm)> {
        let missing = self.ring.keys().iter().filter(|key| !self.private.contains_key(&key.number));
        missing.map(|key| (key.number, key.algorithm)).collect()
    }

    /// Adds a private key for a number of the ring.
    pub(super) fn add(&mut self, number: KeyNumber, algorithm: Algorithm, private: PrivateKey) -> Result<(), Error> {
        let parsed = SigningKey::from_pkcs8(algorithm, &private).map_err(Error::internal)?;
        self.keys.insert(number, Arc::new(parsed));
        self.private.insert(number, private);
        Ok(())
    }

    /// Takes out what was added for a number.
    pub(super) fn take(&mut self, number: KeyNumber) -> Option<PrivateKey> {
        self.keys.remove(&number);
        self.private.remove(&number)
    }

    /// Forgets keys that the ring no longer has.
    pub(super) fn forget_removed(&mut self) {
        let Self { ring, keys, private, .. } = self;
        keys.retain(|number, _| ring.key(*number).is_some());
        private.retain(|number, _| ring.key(*number).is_some());
    }

    /// The record as bytes; equal records have equal ones.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let private = |key: &Key| self.private.get(&key.number).map_or_else(Vec::new, |private| private.to_vec());
        StoredState {
            format: FORMAT,
            pepper: self.pepper.to_vec(),
            refresh_key: self.refresh_key.to_vec(),
            keys: self.ring.keys().iter().map(|key| StoredKey::new(key, private(key))).collect(),
            issuers: self.issuers.clone(),
            longest_access: u64::try_from(self.ring.longest_access().as_millis()).unwrap_or(u64::MAX),
            last_number: self.ring.last_number(),
        }
        .encode_to_vec()
    }

    /// The record that `encode` wrote. Keys that are known already are not parsed again.
    pub(crate) fn decode(bytes: &[u8], known: Option<&Keys>) -> Result<Self, Error> {
        let mut state = StoredState::decode(bytes).map_err(Error::internal)?;
        if state.format != FORMAT {
            let message = format!("realm record of format {}, this version reads {FORMAT}", state.format);
            return Err(Error::internal(message));
        }
        let (mut ring, mut private, mut keys) = (Vec::new(), HashMap::new(), Keys::new());
        for stored in &mut state.keys {
            let key = stored.key()?;
            let material = Zeroizing::new(std::mem::take(&mut stored.pkcs8));
            let parsed = match known.and_then(|known| known.get(&key.number)) {
                Some(parsed) if parsed.is_of(key.algorithm, &material) => parsed.clone(),
                _ => Arc::new(SigningKey::from_pkcs8(key.algorithm, &material).map_err(Error::internal)?),
            };
            keys.insert(key.number, parsed);
            // Of two keys of one number, nobody knows which the tokens mean.
            if private.insert(key.number, material).is_some() {
                return Err(damaged(()));
            }
            ring.push(key);
        }
        Ok(Self {
            pepper: Zeroizing::new(std::mem::take(&mut state.pepper)),
            refresh_key: Zeroizing::new(std::mem::take(&mut state.refresh_key)),
            issuers: std::mem::take(&mut state.issuers),
            ring: KeyRing::restore(ring, Duration::from_millis(state.longest_access), state.last_number),
            private,
            keys,
        })
    }
}

fn damaged<E>(_: E) -> Error {
    Error::internal("the realm record is damaged")
}

impl fmt::Debug for RealmRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RealmRecord({} keys, ..)", self.keys.len())
    }
}

/// Everything in it is secret.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredState {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "vec", tag = "2")]
    pepper: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    refresh_key: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    keys: Vec<StoredKey>,
    /// Newest first.
    #[prost(string, repeated, tag = "5")]
    issuers: Vec<String>,
    /// In milliseconds.
    #[prost(uint64, tag = "6")]
    longest_access: u64,
    /// The highest number of a key ever; 0 in a record that nobody has changed since this is written.
    #[prost(uint32, tag = "7")]
    last_number: u32,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredKey {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(string, tag = "2")]
    algorithm: String,
    #[prost(bytes = "vec", tag = "3")]
    pkcs8: Vec<u8>,
    #[prost(int64, tag = "4")]
    created: i64,
    #[prost(int64, optional, tag = "5")]
    activates: Option<i64>,
    #[prost(int64, optional, tag = "6")]
    retired: Option<i64>,
    #[prost(int64, optional, tag = "7")]
    revoked: Option<i64>,
    /// Both halves of a request id, or nothing.
    #[prost(bytes = "vec", tag = "8")]
    request: Vec<u8>,
}

impl StoredKey {
    fn new(key: &Key, pkcs8: Vec<u8>) -> Self {
        Self {
            number: key.number.0,
            algorithm: key.algorithm.name().to_owned(),
            pkcs8,
            created: key.created.millis(),
            activates: key.activates.map(Timestamp::millis),
            retired: key.retired.map(Timestamp::millis),
            revoked: key.revoked.map(Timestamp::millis),
            request: key.request.map_or_else(Vec::new, |request| [request.name, request.content].concat()),
        }
    }

    fn key(&self) -> Result<Key, Error> {
        let algorithm = Algorithm::parse(&self.algorithm)
            .ok_or_else(|| Error::internal(format!("unknown algorithm {:?} in the realm record", self.algorithm)))?;
        let request = match self.request.as_chunks::<16>() {
            ([], []) => None,
            ([name, content], []) => Some(RequestId { name: *name, content: *content }),
            _ => return Err(damaged(())),
        };
        Ok(Key {
            number: KeyNumber(self.number),
            algorithm,
            created: Timestamp::from_millis(self.created),
            activates: self.activates.map(Timestamp::from_millis),
            retired: self.retired.map(Timestamp::from_millis),
            revoked: self.revoked.map(Timestamp::from_millis),
            request,
        })
    }
}

impl fmt::Debug for StoredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredState(..)")
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredKey(..)")
    }
}

impl Drop for StoredState {
    fn drop(&mut self) {
        self.pepper.zeroize();
        self.refresh_key.zeroize();
    }
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RealmRecord {
        let mut record = RealmRecord {
            pepper: Zeroizing::new(vec![1; 32]),
            refresh_key: Zeroizing::new(vec![2; RefreshKey::BYTES]),
            issuers: Vec::new(),
            ring: KeyRing::default(),
            private: HashMap::new(),
            keys: Keys::new(),
        };
        let number = record.ring.prepare(Algorithm::EdDsa, None, Timestamp::from_seconds(9)).expect("room");
        let private = SigningKey::generate(Algorithm::EdDsa).expect("a key");
        record.add(number, Algorithm::EdDsa, private).expect("its own encoding");
        record
    }

    #[test]
    fn a_parsed_key_is_used_again_only_for_the_same_private_key() {
        let (first, second, number) = (record(), record(), KeyNumber(1));
        let again = RealmRecord::decode(&first.encode(), Some(first.keys())).expect("a record");
        assert!(Arc::ptr_eq(&again.keys()[&number], &first.keys()[&number]));
        let other = RealmRecord::decode(&second.encode(), Some(first.keys())).expect("a record");
        assert_eq!(other.keys()[&number].kid(), second.keys()[&number].kid());
    }

    #[test]
    fn numbers_of_removed_keys_are_remembered() {
        let mut record = record();
        record.ring = KeyRing::restore(Vec::new(), Duration::ZERO, 7);
        let mut again = RealmRecord::decode(&record.encode(), None).expect("a record");
        let number = again.ring.prepare(Algorithm::EdDsa, None, Timestamp::from_seconds(9));
        assert_eq!(number, Ok(KeyNumber(8)));
        assert_eq!(again.missing(), [(KeyNumber(8), Algorithm::EdDsa)]);
    }
}
