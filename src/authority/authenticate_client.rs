//! A registered client proves itself by a secret or a signed assertion (RFC 6749, section
//! 2.3; RFC 7523). Every edge that knows clients asks here.

use std::sync::Arc;

use tracing::debug;
use zeroize::Zeroizing;

use crate::domain::fact::ENTRY_SLACK;
use crate::domain::ids::ClientId;
use crate::verify::client::{RegisteredClient, SecretHash};
use crate::verify::client_assertion::ClientAssertion;

use super::client_proof::ClientProof;
use super::ports::{Commit, Outcome, RecordKey, Version};
use super::sending::send;
use super::{Authority, Error, Realm};

impl Authority {
    /// The client that the proof is of. Whatever is wrong with it, the answer is the same.
    pub(super) async fn authenticate_client(
        &self,
        realm: &Realm,
        proof: &ClientProof,
    ) -> Result<Arc<RegisteredClient>, Error> {
        match proof {
            ClientProof::Secret { id, secret } => {
                // First, so that the time taken does not say whether there is such a client.
                let hash = SecretHash::of(secret).ok_or(Error::ClientNotAuthenticated)?;
                let client = ClientId::parse(id).ok().and_then(|id| realm.clients.find(&id));
                let proven = client.filter(|client| client.has_secret(&hash));
                proven.cloned().ok_or(Error::ClientNotAuthenticated)
            }
            ClientProof::Assertion { id, assertion } => self.check_assertion(realm, id.as_deref(), assertion).await,
        }
    }

    async fn check_assertion(
        &self,
        realm: &Realm,
        id: Option<&str>,
        assertion: &str,
    ) -> Result<Arc<RegisteredClient>, Error> {
        let refused = |reason: &str| {
            debug!(realm = realm.policy.realm.as_str(), reason, "client assertion refused");
            Error::ClientNotAuthenticated
        };
        let assertion = ClientAssertion::parse(assertion).map_err(|rejection| refused(rejection.label()))?;
        if id.is_some_and(|id| id != assertion.client().as_str()) {
            return Err(refused("other_client"));
        }
        let client = realm.clients.find(assertion.client());
        let client = client.ok_or_else(|| refused("unknown_client"))?;
        // RFC 7523, section 3, point 3: the issuer, or the token endpoint.
        let token_endpoint = format!("{}/oauth2/token", realm.issuer);
        let checked = client.check(&assertion, &[&realm.issuer, &token_endpoint], self.now());
        checked.map_err(|rejection| refused(rejection.label()))?;
        if !self.use_once(realm, &assertion).await? {
            return Err(refused("used_before"));
        }
        Ok(client.clone())
    }

    /// Whether it was not used before, anywhere: a record that can be made only once says so. After
    /// its expiry the store may drop that, since the assertion is refused by its own time then.
    async fn use_once(&self, realm: &Realm, assertion: &ClientAssertion<'_>) -> Result<bool, Error> {
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let commit = Commit {
            id: Version(id),
            key: RecordKey::client_assertion(realm.policy.realm.clone(), assertion.id()),
            expected: None,
            bytes: Zeroizing::default(),
            expires: Some(assertion.expires() + ENTRY_SLACK),
            revocations: Vec::new(),
        };
        Ok(matches!(send(&*self.store, &commit).await.outcome?, Outcome::Committed(_)))
    }
}
