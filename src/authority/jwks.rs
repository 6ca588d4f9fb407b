//! `GetJwks` and `WatchJwks`: the keys that verify a realm's tokens (RFC 7517). Public members only,
//! RSA first, and from memory: nobody who asks makes a store work.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::domain::time::Timestamp;
use crate::signing::key::SigningKey;
use crate::verify::revocations::RevocationIndex;

use super::{Authority, Error, Realm};

/// A key set as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonWebKeySet {
    /// Each key.
    pub keys: Vec<Value>,
    /// The set (RFC 7517, section 5).
    pub json: Vec<u8>,
    /// A strong validator of exactly these bytes (RFC 9110, section 8.8.3), in its quotes.
    pub etag: String,
}

impl JsonWebKeySet {
    /// What a realm publishes at `now`, less what is known to be compromised.
    pub(super) fn of(realm: &Realm, index: &RevocationIndex, now: Timestamp) -> Self {
        let mut keys: Vec<_> = published(realm, index, now).collect();
        keys.sort_by_key(|key| key.algorithm());
        let keys: Vec<_> = keys.iter().filter_map(|key| Some(key.public()?.to_jwk())).collect();
        let json = json!({ "keys": keys }).to_string().into_bytes();
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest(&SHA256, &json).as_ref()[..16]));
        Self { keys, json, etag }
    }

    /// Whether it still is what a realm publishes.
    pub(super) fn is_of(&self, realm: &Realm, index: &RevocationIndex, now: Timestamp) -> bool {
        let known = |key: &Arc<SigningKey>| self.keys.iter().any(|jwk| jwk["kid"] == key.kid().as_str());
        published(realm, index, now).count() == self.keys.len() && published(realm, index, now).all(known)
    }
}

fn published<'a>(
    realm: &'a Realm,
    index: &'a RevocationIndex,
    now: Timestamp,
) -> impl Iterator<Item = &'a Arc<SigningKey>> {
    realm.published(now).filter(|key| key.public().is_some() && !index.key_ended(key.kid()))
}

impl Authority {
    /// The set as it is served now.
    pub fn json_web_key_set(&self, realm: &str) -> Result<Arc<JsonWebKeySet>, Error> {
        Ok(self.watch_json_web_key_set(realm)?.borrow().clone())
    }

    /// The set now and at each change. Who is slow misses sets in between, never the last.
    pub fn watch_json_web_key_set(&self, realm: &str) -> Result<watch::Receiver<Arc<JsonWebKeySet>>, Error> {
        let realm = self.realm(realm)?;
        self.realms.key_set(realm.name()).ok_or_else(|| Error::UnknownRealm(realm.name().to_string()))
    }
}
