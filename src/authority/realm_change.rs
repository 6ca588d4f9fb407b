//! The one way to change a realm's record: load, decide, make the keys that the decision names, commit.
//! Whichever instance commits first has taken the step; the others find it taken.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::try_join_all;
use zeroize::Zeroizing;

use crate::domain::algorithm::Algorithm;
use crate::domain::ids::KeyNumber;
use crate::domain::policy::RealmPolicy;
use crate::domain::revocation::{Revision, RevocationEntry, RevocationScope};
use crate::domain::rotate_keys::KeyFact;
use crate::domain::time::Timestamp;
use crate::signing::key::SigningKey;

use super::clients::Clients;
use super::error::Error;
use super::ports::{Clock, Commit, Entropy, Outcome, RecordKey, Store, Version};
use super::realm::Realm;
use super::realm_record::{PrivateKey, RealmRecord};
use super::sending::send;

/// How often a commit that lost a race is decided anew.
const MAX_CONFLICTS: usize = 16;

/// What a change needs from outside.
#[derive(Debug, Clone, Copy)]
pub struct Ports<'a> {
    /// Where the record is.
    pub store: &'a dyn Store,
    /// The time.
    pub clock: &'a dyn Clock,
    /// The randomness.
    pub entropy: &'a dyn Entropy,
}

/// What was decided.
pub(super) struct Step<A> {
    answer: A,
    ends: Option<KeyNumber>,
}

impl<A> Step<A> {
    /// The record, as it is now, says it all.
    pub(super) fn answer(answer: A) -> Self {
        Self { answer, ends: None }
    }

    /// The tokens of this key end too. Asked for again it is written again: nobody knows whether a
    /// lost answer was written.
    pub(super) fn ending(answer: A, key: KeyNumber) -> Self {
        Self { answer, ends: Some(key) }
    }
}

/// A record after a change, or as it was where there was nothing to change.
pub(super) struct Changed<A> {
    pub answer: A,
    pub realm: Arc<Realm>,
    pub facts: Vec<KeyFact>,
    /// Of the entries that were written.
    pub revision: Option<Revision>,
}

/// Runs `decide` on the newest record until its outcome is committed.
pub(super) async fn change<A>(
    ports: Ports<'_>,
    policy: &RealmPolicy,
    clients: &Arc<Clients>,
    issuer: &Arc<str>,
    known: Option<&Arc<Realm>>,
    mut decide: impl FnMut(&mut RealmRecord, Timestamp) -> Result<Step<A>, Error>,
) -> Result<Changed<A>, Error> {
    let key = RecordKey::realm(policy.realm.clone());
    let mut spares = Spares::default();
    for _ in 0..MAX_CONFLICTS {
        let stored = ports.store.load(&key).await?;
        let mut record = match &stored {
            Some(stored) => RealmRecord::decode(&stored.bytes, known.map(|known| &known.keys))?,
            None => RealmRecord::new(ports.entropy),
        };
        let before = record.ring.clone();
        let now = ports.clock.now();
        let Step { answer, ends } = decide(&mut record, now)?;
        record.forget_removed();
        let made = spares.complete(&mut record).await?;
        let bytes = Zeroizing::new(record.encode());
        let revocations: Vec<_> = ends.and_then(|number| entry(&record, number)).into_iter().collect();

        let unchanged = stored.as_ref().filter(|stored| stored.bytes == bytes && revocations.is_empty());
        let (version, revision) = match unchanged {
            Some(stored) => (stored.version, None),
            None => {
                let expected = stored.as_ref().map(|stored| stored.version);
                let id = version(ports.entropy);
                let commit = Commit { id, key: key.clone(), expected, bytes, expires: None, revocations };
                match send(ports.store, &commit).await.outcome? {
                    Outcome::Committed(revision) => (id, Some(revision)),
                    Outcome::Conflict => {
                        spares.take_back(&mut record, made);
                        continue;
                    }
                }
            }
        };
        let facts = record.ring.facts_since(&before);
        let realm = match known.filter(|known| known.version == version) {
            Some(known) => known.clone(),
            None => Arc::new(Realm::of(&record, version, policy.clone(), clients.clone(), issuer.clone())?),
        };
        return Ok(Changed { answer, realm, facts, revision });
    }
    Err(Error::Overloaded)
}

fn entry(record: &RealmRecord, number: KeyNumber) -> Option<RevocationEntry> {
    let kid = record.keys().get(&number)?.kid().clone();
    let until = record.ring.key(number).and_then(|key| record.ring.removes(key))?;
    Some(RevocationEntry { scope: RevocationScope::Key(kid), until })
}

fn version(entropy: &dyn Entropy) -> Version {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    Version(id)
}

/// Keys made for a commit that lost its race: good for the next.
#[derive(Default)]
struct Spares(HashMap<Algorithm, Vec<PrivateKey>>);

impl Spares {
    /// Gives the record the private keys that it lacks; which.
    async fn complete(&mut self, record: &mut RealmRecord) -> Result<Vec<(KeyNumber, Algorithm)>, Error> {
        let missing = record.missing();
        let spares = missing.iter().map(|(_, algorithm)| self.0.get_mut(algorithm).and_then(Vec::pop));
        let keys = spares.collect::<Vec<_>>().into_iter().zip(&missing).map(|(spare, (_, algorithm))| async {
            match spare {
                Some(spare) => Ok(spare),
                None => generate(*algorithm).await,
            }
        });
        for (key, (number, algorithm)) in try_join_all(keys).await?.into_iter().zip(&missing) {
            record.add(*number, *algorithm, key)?;
        }
        Ok(missing)
    }

    fn take_back(&mut self, record: &mut RealmRecord, made: Vec<(KeyNumber, Algorithm)>) {
        for (number, algorithm) in made {
            self.0.entry(algorithm).or_default().extend(record.take(number));
        }
    }
}

/// An RSA key takes 100 ms and more: not on a thread that serves calls.
async fn generate(algorithm: Algorithm) -> Result<PrivateKey, Error> {
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await;
    // Not in the task's own words, which repeat what it panicked with.
    made.map_err(|_| Error::internal("the task that makes a key ended early"))?.map_err(Error::internal)
}
