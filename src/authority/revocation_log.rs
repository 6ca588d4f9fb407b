//! Following the store's revocation log: the index keeps up with it, and what a failover took out of it is
//! put back, on the records too. Every instance does so for what it knows: twice is harmless, and the one
//! that answered may be gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tracing::{info, warn};

use crate::domain::put_back::put_back;
use crate::domain::revocation::{Owner, RevocationEntry};

use super::ports::{LogUpdate, RecordKey};
use super::{Authority, Error, Realm, cut_off};

/// Before the log is followed again, and before what was not put back is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Records that are put back at the same time.
const AT_A_TIME: usize = 64;

impl Authority {
    /// Follows the log for as long as it is awaited.
    pub async fn follow_log(self: Arc<Self>) {
        loop {
            match self.store.follow().await {
                Ok(mut updates) => {
                    while let Some(update) = updates.recv().await {
                        self.index.apply(&update);
                        self.feed.append(&update);
                        if let LogUpdate::Lost { entries } = update {
                            self.put_all_back(entries);
                        }
                    }
                }
                Err(error) => warn!(%error, "the revocation log can't be followed"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Beside following, which must not wait for a store that is just coming back.
    fn put_all_back(self: &Arc<Self>, entries: Vec<(Owner, RevocationEntry)>) {
        warn!(entries = entries.len(), "the revocation log lost entries, as after a failover: putting them back");
        let mut by_owner: HashMap<Owner, Vec<RevocationEntry>> = HashMap::new();
        for (owner, entry) in entries {
            by_owner.entry(owner).or_default().push(entry);
        }
        let authority = self.clone();
        self.tasks.spawn_until_stopped(async move {
            let authority = &authority;
            let owners = futures::stream::iter(by_owner);
            owners.for_each_concurrent(AT_A_TIME, |(owner, entries)| authority.insist(owner, entries)).await;
            info!("what the revocation log lost is put back");
        });
    }

    /// Until the store has taken them.
    async fn insist(&self, owner: Owner, entries: Vec<RevocationEntry>) {
        let Ok(realm) = self.realm(owner.realm.as_str()) else {
            warn!(realm = owner.realm.as_str(), "lost revocations of a realm that is not served here");
            return;
        };
        loop {
            match self.put_back(&realm, &owner, &entries).await {
                Ok(()) => return,
                Err(error) => warn!(%error, "lost revocations can't be put back yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn put_back(&self, realm: &Arc<Realm>, owner: &Owner, entries: &[RevocationEntry]) -> Result<(), Error> {
        let Some(subject) = owner.subject else {
            let key = RecordKey::realm(owner.realm.clone());
            for entry in entries.iter().filter(|entry| self.now() < entry.until) {
                cut_off::append(&*self.store, &*self.entropy, &key, || entry.clone()).await?;
            }
            return Ok(());
        };
        let entries = entries.to_vec();
        let place = realm.place_of(subject);
        self.change(realm, place, move |record, context| put_back(record, &entries, context)).await?.answer?;
        Ok(())
    }
}
