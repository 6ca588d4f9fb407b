//! `RevokeClient` and `RevokeRealm`: everything issued until now ends. The cut-off is a time, not a
//! list: it costs the same for one session and for a million.

use crate::domain::fact::ENTRY_SLACK;
use crate::domain::ids::ClientId;
use crate::domain::policy::MAX_SESSION_LIFETIME;
use crate::domain::revocation::{Revision, RevocationEntry, RevocationScope};
use crate::domain::time::Timestamp;

use super::ports::{Commit, Outcome, RecordKey, Version};
use super::sending::send;
use super::{Authority, Error, Realm, audit};

impl Authority {
    /// Ends every session and token of a client issued until now.
    pub async fn revoke_client(&self, realm: &str, client: ClientId) -> Result<Revision, Error> {
        let realm = self.realm(realm)?;
        self.cut_off(&realm, |now| RevocationScope::Client(realm.policy.realm.clone(), client.clone(), now)).await
    }

    /// Ends every session and token of a realm issued until now.
    pub async fn revoke_realm(&self, realm: &str) -> Result<Revision, Error> {
        let realm = self.realm(realm)?;
        self.cut_off(&realm, |now| RevocationScope::Realm(realm.policy.realm.clone(), now)).await
    }

    /// Appends the entry with a commit of the realm's record, unchanged.
    async fn cut_off(&self, realm: &Realm, scope: impl Fn(Timestamp) -> RevocationScope) -> Result<Revision, Error> {
        let key = RecordKey::realm(realm.policy.realm.clone());
        for _ in 0..16 {
            let stored = self.store.load(&key).await?.ok_or_else(|| Error::internal("the realm's record is gone"))?;
            let now = self.now();
            // Sessions opened before can be refreshed for as long as any lives.
            let entry = RevocationEntry { scope: scope(now), until: now + MAX_SESSION_LIFETIME + ENTRY_SLACK };
            let mut id = [0; 16];
            self.entropy.fill(&mut id);
            let commit = Commit {
                id: Version(id),
                key: key.clone(),
                expected: Some(stored.version),
                bytes: stored.bytes,
                expires: None,
                revocations: vec![entry.clone()],
            };
            if let Outcome::Committed(revision) = send(&*self.store, &commit).await.outcome? {
                self.index.insert(&entry);
                audit::cut_off(&entry.scope);
                return Ok(revision);
            }
        }
        Err(Error::Overloaded)
    }
}
