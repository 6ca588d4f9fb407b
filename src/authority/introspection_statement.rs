//! An introspection's answer as a signed statement (RFC 9701): proof towards third parties of what the
//! caller was told.

use serde_json::{Map, Value, json};

use crate::domain::algorithm::Algorithm;
use crate::domain::ids::ClientId;

use super::{Authority, Error};

/// The type of its JWT (RFC 9701, section 5), which no verifier takes for an access token.
const TYPE: &str = "token-introspection+jwt";

impl Authority {
    /// The signed form of an answer to `audience`, of a realm whose key others can verify.
    pub async fn introspection_statement(
        &self,
        realm: &str,
        audience: &ClientId,
        answer: Value,
    ) -> Result<String, Error> {
        let realm = self.realms.signing(self.realm(realm)?).await?;
        let now = self.now();
        let (number, key) = realm.signing_key(now).ok_or(Error::NoSigningKey)?;
        // Whatever the policy says: a new algorithm has a key of the old one sign for a while.
        if key.algorithm() == Algorithm::Hs256 {
            return Err(Error::invalid("accept", "must be application/json in a realm whose key is secret"));
        }
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), json!(&*realm.issuer));
        claims.insert("aud".to_owned(), json!(audience.as_str()));
        claims.insert("iat".to_owned(), json!(now.seconds()));
        claims.insert("token_introspection".to_owned(), answer);
        Ok(self.signer.start_statement(&realm.policy.realm, number, TYPE, &claims)?.await?)
    }
}
