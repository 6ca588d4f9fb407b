//! `GetJwks`: the keys that verify a realm's tokens (RFC 7517). Public members only, RSA first.

use serde_json::{Value, json};

use super::{Authority, Error};

impl Authority {
    /// The realm's JSON Web Keys, from memory.
    pub fn json_web_keys(&self, realm: &str) -> Result<Vec<Value>, Error> {
        let realm = self.realm(realm)?;
        let mut keys: Vec<_> = realm.keys.iter().map(|(_, key)| key).collect();
        keys.sort_by_key(|key| key.algorithm());
        Ok(keys.into_iter().filter_map(|key| Some(key.public()?.to_jwk())).collect())
    }

    /// The set as it is served.
    pub fn json_web_key_set(&self, realm: &str) -> Result<Vec<u8>, Error> {
        let keys = self.json_web_keys(realm)?;
        serde_json::to_vec(&json!({ "keys": keys })).map_err(Error::internal)
    }
}
