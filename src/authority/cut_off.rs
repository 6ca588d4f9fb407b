//! `RevokeClient` and `RevokeRealm`: everything issued until now ends. The cut-off is a time, not a
//! list: it costs the same for one session and for a million.

use tokio::sync::oneshot;

use crate::domain::fact::ENTRY_SLACK;
use crate::domain::ids::{ClientId, RealmName};
use crate::domain::policy::MAX_SESSION_LIFETIME;
use crate::domain::revocation::{Revision, RevocationEntry, RevocationScope};
use crate::domain::time::Timestamp;

use super::attribution::By;
use super::ports::{Clock, Commit, Entropy, Outcome, RecordKey, Store, Version};
use super::sending::send;
use super::{Authority, Error, audit};

/// How often a commit that lost a race is made anew.
const MAX_CONFLICTS: usize = 16;

impl Authority {
    /// Ends every session and token of a client issued until now.
    pub async fn revoke_client(&self, realm: &str, client: ClientId) -> Result<Revision, Error> {
        let name = self.realm(realm)?.policy.realm.clone();
        self.cut_off(name.clone(), move |now| RevocationScope::Client(name.clone(), client.clone(), now)).await
    }

    /// Ends every session and token of a realm issued until now.
    pub async fn revoke_realm(&self, realm: &str) -> Result<Revision, Error> {
        let name = self.realm(realm)?.policy.realm.clone();
        self.cut_off(name.clone(), move |now| RevocationScope::Realm(name.clone(), now)).await
    }

    /// Goes on if the caller goes away: what is in the log has to be in the index and in the audit too.
    async fn cut_off(
        &self,
        realm: RealmName,
        scope: impl Fn(Timestamp) -> RevocationScope + Send + 'static,
    ) -> Result<Revision, Error> {
        let (store, index) = (self.store.clone(), self.index.clone());
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        let (done, outcome) = oneshot::channel();
        self.tasks.spawn(By::current().carry(async move {
            let entry = move || ending(&*clock, &scope);
            let appended = append(&*store, &*entropy, &RecordKey::realm(realm), entry).await;
            let answer = appended.map(|(entry, revision)| {
                index.insert(&entry);
                audit::cut_off(&entry.scope);
                revision
            });
            let _ = done.send(answer);
        }));
        outcome.await.map_err(|_| Error::internal("the task of a cut-off ended early"))?
    }
}

/// Ends every session and token of a realm issued until now, in a store that nobody serves: no index
/// is told.
pub async fn end_realm_at_rest(
    store: &dyn Store,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    realm: &RealmName,
) -> Result<(), Error> {
    let entry = || ending(clock, |now| RevocationScope::Realm(realm.clone(), now));
    append(store, entropy, &RecordKey::realm(realm.clone()), entry).await.map(drop)
}

/// An entry that counts from now on. Sessions opened before can be refreshed for as long as any lives.
fn ending(clock: &dyn Clock, scope: impl Fn(Timestamp) -> RevocationScope) -> RevocationEntry {
    let now = clock.now();
    RevocationEntry { scope: scope(now), until: now + MAX_SESSION_LIFETIME + ENTRY_SLACK }
}

/// Appends the entry with a commit of the realm's record, unchanged.
pub(super) async fn append(
    store: &dyn Store,
    entropy: &dyn Entropy,
    key: &RecordKey,
    entry: impl Fn() -> RevocationEntry + Send,
) -> Result<(RevocationEntry, Revision), Error> {
    for _ in 0..MAX_CONFLICTS {
        let stored = store.load(key).await?.ok_or_else(|| Error::internal("the realm's record is gone"))?;
        let entry = entry();
        let mut id = [0; 16];
        entropy.fill(&mut id);
        let commit = Commit {
            id: Version(id),
            key: key.clone(),
            expected: Some(stored.version),
            bytes: stored.bytes,
            expires: None,
            revocations: vec![entry.clone()],
        };
        if let Outcome::Committed(revision) = send(store, &commit).await.outcome? {
            return Ok((entry, revision));
        }
    }
    Err(Error::Overloaded)
}
