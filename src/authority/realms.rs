//! The realms in service, each as its record says, and their keys where tokens are signed and checked.
//! Keeps up with the records: takes the steps that are due, follows those that other instances took.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::{Mutex, oneshot, watch};
use tracing::warn;

use crate::domain::ids::RealmName;
use crate::domain::revocation::{Revision, RevocationEntry, RevocationScope};
use crate::domain::time::Timestamp;
use crate::signing::Signer;
use crate::tasks::Tasks;
use crate::verify::Verifier;
use crate::verify::revocations::RevocationIndex;

use super::attribution::By;
use super::jwks::JsonWebKeySet;
use super::ports::{Clock, Entropy, Store};
use super::realm_change::{Ports, Step, change};
use super::realm_record::RealmRecord;
use super::redefine_realms::RealmDefinition;
use super::{Error, Parts, Realm, audit};

/// How often the clock is held against what is due, in memory.
const TICK: Duration = Duration::from_secs(1);
/// How often a call that waits for a reading of its own asks for it, a tick between.
const READINGS_AWAITED: u32 = 3;
/// How many ticks pass between two readings of each record: far below the shortest publish-ahead.
const TICKS_A_READING: u32 = 30;

/// The realms.
#[derive(Debug, Clone)]
pub(super) struct Realms(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    tasks: Tasks,
    signer: Arc<Signer>,
    verifier: Arc<Verifier>,
    index: Arc<RevocationIndex>,
    serving: RwLock<HashMap<RealmName, Arc<Serving>>>,
    /// One at a time, since it takes the turns of several realms.
    redefining: Mutex<()>,
}

#[derive(Debug)]
struct Serving {
    /// As last read.
    realm: RwLock<Arc<Realm>>,
    /// As published.
    jwks: watch::Sender<Arc<JsonWebKeySet>>,
    /// Readings and changes take turns, so that an older reading never replaces a newer one.
    turn: Mutex<()>,
    /// How the reading ended that a call caused: one a tick, whatever strangers send. Held while reading,
    /// so that one reads for all.
    asked: Mutex<Option<Result<(), Error>>>,
    /// How many such readings have begun.
    readings: AtomicU64,
}

impl Serving {
    fn new(realm: &Arc<Realm>, index: &RevocationIndex, now: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            realm: RwLock::new(realm.clone()),
            jwks: watch::Sender::new(Arc::new(JsonWebKeySet::of(realm, index, now))),
            turn: Mutex::default(),
            asked: Mutex::default(),
            readings: AtomicU64::new(0),
        })
    }

    fn realm(&self) -> Arc<Realm> {
        self.realm.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Which records a round reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Those of realms in which a step is due.
    Due,
    /// All.
    All,
}

impl Realms {
    /// Puts realms into service. Fails if two have a key in common.
    pub(super) fn new(parts: &Parts) -> Result<Self, Error> {
        let now = parts.clock.now();
        let serving = |realm: &Arc<Realm>| (realm.name().clone(), Serving::new(realm, &parts.index, now));
        let inner = Inner {
            store: parts.store.clone(),
            clock: parts.clock.clone(),
            entropy: parts.entropy.clone(),
            tasks: parts.tasks.clone(),
            signer: parts.signer.clone(),
            verifier: parts.verifier.clone(),
            index: parts.index.clone(),
            serving: RwLock::new(parts.realms.iter().map(serving).collect()),
            redefining: Mutex::default(),
        };
        for realm in &parts.realms {
            inner.install(realm)?;
        }
        Ok(Self(Arc::new(inner)))
    }

    /// The realm of that name.
    pub(super) fn realm(&self, name: &RealmName) -> Option<Arc<Realm>> {
        self.0.serving(name).ok().map(|serving| serving.realm())
    }

    /// Each realm.
    pub(super) fn all(&self) -> impl Iterator<Item = Arc<Realm>> {
        self.0.each().into_iter().map(|serving| serving.realm())
    }

    /// The realm's key set, as published now and at each change.
    pub(super) fn key_set(&self, name: &RealmName) -> Option<watch::Receiver<Arc<JsonWebKeySet>>> {
        self.0.serving(name).ok().map(|serving| serving.jwks.subscribe())
    }

    /// Changes a realm's record. Goes on if the caller goes away: what was committed has to be known
    /// here too.
    pub(super) async fn change<A: Send + 'static>(
        &self,
        name: &RealmName,
        decide: impl FnMut(&mut RealmRecord, Timestamp) -> Result<Step<A>, Error> + Send + 'static,
    ) -> Result<(A, Arc<Realm>, Option<Revision>), Error> {
        let (done, outcome) = oneshot::channel();
        let (inner, name) = (self.0.clone(), name.clone());
        self.0.tasks.spawn(By::current().carry(async move {
            let _ = done.send(inner.change(&name, decide).await);
        }));
        outcome.await.map_err(|_| Error::internal("the task of a realm ended early"))?
    }

    /// Reads the realm again because a call met a key that is not known here. Calls share a reading and
    /// its failure, and there is one a tick: strangers can make up as many keys as they like.
    pub(super) async fn read_again(&self, name: &RealmName) -> Result<(), Error> {
        let serving = self.0.serving(name)?;
        let mut asked = serving.asked.lock().await;
        if let Some(outcome) = &*asked {
            return outcome.clone();
        }
        serving.readings.fetch_add(1, Ordering::SeqCst);
        // Before the answer: a caller that gives up must not open the way for the next one.
        *asked = Some(Err(Error::NotFresh));
        let outcome = self.advance(name).await;
        *asked = Some(outcome.clone());
        outcome
    }

    /// How many readings have begun.
    pub(super) fn readings(&self, name: &RealmName) -> u64 {
        self.0.serving(name).map_or(0, |serving| serving.readings.load(Ordering::SeqCst))
    }

    /// The same by a reading that began when so many had; waits for the next where that of this tick is
    /// used up. A key that is unknown after it did not exist when they were counted.
    pub(super) async fn read_after(&self, name: &RealmName, readings: u64) -> Result<(), Error> {
        for _ in 0..READINGS_AWAITED {
            self.read_again(name).await?;
            if self.readings(name) > readings {
                return Ok(());
            }
            tokio::time::sleep(TICK).await;
        }
        Err(Error::NotFresh)
    }

    /// The realm with a key to sign with. Where that of this moment was revoked by another instance, the
    /// record says which one took over.
    pub(super) async fn signing(&self, realm: Arc<Realm>) -> Result<Arc<Realm>, Error> {
        let Inner { clock, index, .. } = &*self.0;
        let can = |realm: &Realm| realm.signing_key(clock.now()).is_some_and(|(_, key)| !index.key_ended(key.kid()));
        if can(&realm) {
            return Ok(realm);
        }
        self.read_again(realm.name()).await?;
        self.realm(realm.name()).filter(|realm| can(realm)).ok_or(Error::NoSigningKey)
    }

    /// Serves by these definitions from now on. All records are read, or made, before the first realm is
    /// exchanged; meanwhile nothing else changes them here.
    pub(super) async fn redefine(&self, definitions: Vec<RealmDefinition>) -> Result<Vec<RealmName>, Error> {
        let Inner { store, clock, entropy, index, .. } = &*self.0;
        let _alone = self.0.redefining.lock().await;
        let is_new = |definition: &RealmDefinition| {
            !self.realm(&definition.policy.realm).is_some_and(|known| definition.is_of(&known))
        };
        let definitions: Vec<_> = definitions.into_iter().filter(is_new).collect();
        let serving: Vec<_> = definitions.iter().map(|new| self.0.serving(&new.policy.realm).ok()).collect();
        let mut turns = Vec::new();
        for serving in serving.iter().flatten() {
            turns.push(serving.turn.lock().await);
        }
        let open = |RealmDefinition { policy, clients, issuer }| async move {
            Realm::open(policy, clients, &issuer, &**store, &**clock, &**entropy).await
        };
        let realms = try_join_all(definitions.into_iter().map(open)).await?;
        for (realm, serving) in realms.iter().zip(&serving) {
            if let Some(serving) = serving {
                self.0.adopt(serving, &serving.realm(), realm)?;
            } else {
                self.0.install(realm)?;
                let serving = Serving::new(realm, index, clock.now());
                self.0.serving.write().unwrap_or_else(PoisonError::into_inner).insert(realm.name().clone(), serving);
            }
        }
        Ok(realms.iter().map(|realm| realm.name().clone()).collect())
    }

    /// Keeps up with the records until it is dropped.
    pub(super) async fn tend(&self) {
        for tick in 1_u32.. {
            tokio::time::sleep(TICK).await;
            self.round(if tick.is_multiple_of(TICKS_A_READING) { Read::All } else { Read::Due }).await;
        }
    }

    /// One round over all realms.
    pub(super) async fn round(&self, read: Read) {
        for serving in self.0.each() {
            *serving.asked.lock().await = None;
            let (realm, now) = (serving.realm(), self.0.clock.now());
            let name = realm.name();
            self.0.publish(&serving, &realm, now);
            let revoked_elsewhere = || realm.published(now).any(|key| self.0.index.key_ended(key.kid()));
            let reads = read == Read::All || realm.is_step_due(now) || revoked_elsewhere();
            if reads && let Err(error) = self.advance(name).await {
                warn!(realm = name.as_str(), %error, "the keys can't be kept up with; tried again soon");
            }
        }
    }

    async fn advance(&self, name: &RealmName) -> Result<(), Error> {
        let policy = self.realm(name).ok_or_else(|| Error::UnknownRealm(name.to_string()))?.policy.clone();
        let advance = move |record: &mut RealmRecord, now| {
            record.ring.advance(&policy, now);
            Ok(Step::answer(()))
        };
        // Whoever's call it was that found the step due.
        By::Server.carry(self.change(name, advance)).await.map(|_| ())
    }
}

impl Inner {
    fn serving(&self, name: &RealmName) -> Result<Arc<Serving>, Error> {
        let serving = self.serving.read().unwrap_or_else(PoisonError::into_inner);
        serving.get(name).cloned().ok_or_else(|| Error::UnknownRealm(name.to_string()))
    }

    fn each(&self) -> Vec<Arc<Serving>> {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    async fn change<A>(
        &self,
        name: &RealmName,
        decide: impl FnMut(&mut RealmRecord, Timestamp) -> Result<Step<A>, Error>,
    ) -> Result<(A, Arc<Realm>, Option<Revision>), Error> {
        let serving = self.serving(name)?;
        let _turn = serving.turn.lock().await;
        let known = serving.realm();
        let ports = Ports { store: &*self.store, clock: &*self.clock, entropy: &*self.entropy };
        let changed = change(ports, &known.policy, &known.clients, &known.issuer, Some(&known), decide).await?;
        for fact in &changed.facts {
            let keys = [&changed.realm.keys, &known.keys];
            audit::key(name, *fact, |number| keys.iter().find_map(|keys| keys.get(&number)));
        }
        self.adopt(&serving, &known, &changed.realm)?;
        Ok((changed.answer, changed.realm, changed.revision))
    }

    /// Serves by a newer record. Its keys are known here before anything is signed with them, and
    /// revoked ones are, before anybody is told.
    fn adopt(&self, serving: &Serving, known: &Realm, realm: &Arc<Realm>) -> Result<(), Error> {
        self.install(realm)?;
        for (number, key) in known.keys.iter().filter(|(number, _)| !realm.keys.contains_key(number)) {
            self.signer.remove(realm.name(), *number);
            self.verifier.keys().remove(key.kid());
        }
        *serving.realm.write().unwrap_or_else(PoisonError::into_inner) = realm.clone();
        self.publish(serving, realm, self.clock.now());
        Ok(())
    }

    fn install(&self, realm: &Realm) -> Result<(), Error> {
        let (name, now) = (realm.name(), self.clock.now());
        let issuers = realm.issuers.iter().map(ToString::to_string);
        self.verifier.issuers().set(name.clone(), issuers, realm.policy.profile.clone());
        for key in realm.published(now) {
            let verifying = key.verify_key(name.clone()).map_err(Error::internal)?;
            self.verifier.keys().install(verifying).map_err(Error::internal)?;
        }
        // A revoked key signs nothing new, but the answer to a refresh that was lost is still the same.
        for (number, key) in &realm.keys {
            self.signer.install(name.clone(), *number, key.clone());
        }
        for (key, until) in realm.revoked(now) {
            self.verifier.keys().remove(key.kid());
            self.index.insert(&RevocationEntry { scope: RevocationScope::Key(key.kid().clone()), until });
        }
        Ok(())
    }

    fn publish(&self, serving: &Serving, realm: &Realm, now: Timestamp) {
        serving.jwks.send_if_modified(|set| {
            let differs = !set.is_of(realm, &self.index, now);
            if differs {
                *set = Arc::new(JsonWebKeySet::of(realm, &self.index, now));
            }
            differs
        });
    }
}
