//! The use cases of `KeyService`: what an operator sees of a realm's keys, and the steps that can be
//! hurried or corrected. What follows from time alone happens without anybody asking.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::algorithm::Algorithm;
use crate::domain::ids::{KeyId, KeyNumber, RealmName};
use crate::domain::key_ring::{Key, KeyState};
use crate::domain::policy::RealmPolicy;
use crate::domain::revocation::Revision;
use crate::domain::rotate_keys::{KeyRefusal, PublishAhead};
use crate::domain::subject::RequestId;
use crate::domain::time::Timestamp;

use super::realm_change::Step;
use super::realm_record::RealmRecord;
use super::realms::Read;
use super::{Authority, Error, Realm, audit};

/// A key without its private part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Its `kid`.
    pub kid: KeyId,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Where in its life it stands.
    pub state: KeyState,
    /// Published from.
    pub created: Timestamp,
    /// Signs from.
    pub activates: Option<Timestamp>,
    /// Signs no more from.
    pub retires: Option<Timestamp>,
    /// Not published from; once it signs no more.
    pub removes: Option<Timestamp>,
}

impl KeyView {
    pub(super) fn of(realm: &Realm, key: &Key, now: Timestamp) -> Option<Self> {
        let (ring, state) = (&realm.ring, realm.ring.state(key, now));
        let over = matches!(state, KeyState::Retiring | KeyState::Revoked);
        (state != KeyState::Removed).then_some(Self {
            kid: realm.keys.get(&key.number)?.kid().clone(),
            algorithm: key.algorithm,
            state,
            created: key.created,
            activates: key.activates,
            retires: ring.retires(key),
            removes: ring.removes(key).filter(|_| over),
        })
    }
}

/// For how long the key that signs with an algorithm has done so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAge {
    /// Whose it is.
    pub realm: RealmName,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Since it was activated.
    pub age: Duration,
}

impl Authority {
    /// Each realm's active keys, as known here.
    pub fn key_ages(&self) -> Vec<KeyAge> {
        let now = self.now();
        let of = |realm: Arc<Realm>| {
            let ages = realm.ring.ages(now);
            ages.map(|(algorithm, age)| KeyAge { realm: realm.name().clone(), algorithm, age }).collect::<Vec<_>>()
        };
        self.realms.all().flat_map(of).collect()
    }

    /// The realm's keys as its record says, newest first.
    pub async fn list_keys(&self, realm: &str) -> Result<Vec<KeyView>, Error> {
        let realm = self.realm(realm)?;
        let ((), realm, _) = self.realms.change(realm.name(), |_, _| Ok(Step::answer(()))).await?;
        let now = self.now();
        Ok(realm.ring.keys().iter().rev().filter_map(|key| KeyView::of(&realm, key, now)).collect())
    }

    /// Makes a standby, by default of the algorithm that signs.
    pub async fn prepare_key(
        &self,
        realm: &str,
        algorithm: Option<Algorithm>,
        request: Option<RequestId>,
    ) -> Result<KeyView, Error> {
        let policy = &self.realm(realm)?.policy;
        let algorithm = algorithm.unwrap_or(policy.algorithm);
        check_algorithm(policy, algorithm)?;
        let prepare = move |record: &mut RealmRecord, now| Ok(record.ring.prepare(algorithm, request, now)?);
        self.change_key(realm, prepare).await
    }

    /// Lets a prepared key sign from now on.
    pub async fn activate_key(&self, realm: &str, kid: Option<KeyId>, ahead: PublishAhead) -> Result<KeyView, Error> {
        let policy = self.realm(realm)?.policy.clone();
        let activate = move |record: &mut RealmRecord, now| {
            let number = kid.as_ref().map(|kid| known(record, kid)).transpose()?;
            Ok(record.ring.activate(number, ahead, &policy, now)?)
        };
        self.change_key(realm, activate).await
    }

    /// Lets a key sign no more.
    pub async fn retire_key(&self, realm: &str, kid: KeyId) -> Result<KeyView, Error> {
        let policy = self.realm(realm)?.policy.clone();
        let retire = move |record: &mut RealmRecord, now| {
            let number = known(record, &kid)?;
            record.ring.retire(number, &policy, now)?;
            Ok(number)
        };
        self.change_key(realm, retire).await
    }

    /// Ends a compromised key with every token that it signed; the revision proves it.
    pub async fn revoke_key(&self, realm: &str, kid: KeyId, reason: &str) -> Result<(KeyView, Revision), Error> {
        let realm = self.realm(realm)?;
        // Of a key that is none, the caller may have written anything.
        let is_one = realm.keys.values().any(|key| *key.kid() == kid);
        audit::key_revocation_asked(realm.name(), is_one.then_some(&kid), reason);
        let policy = realm.policy.clone();
        let revoke = move |record: &mut RealmRecord, now| {
            let number = known(record, &kid)?;
            record.ring.revoke(number, &policy, now)?;
            Ok(Step::ending(number, number))
        };
        let (number, realm, revision) = self.realms.change(realm.name(), revoke).await?;
        Ok((self.view(&realm, number)?, revision.unwrap_or_else(|| self.index.revision())))
    }

    /// Takes the steps that are due and follows those that others took, until it is dropped.
    pub async fn tend_keys(&self) {
        self.realms.tend().await;
    }

    /// Takes the steps that are due now, once.
    pub async fn tend_keys_once(&self) {
        self.realms.round(Read::Due).await;
    }

    async fn change_key(
        &self,
        realm: &str,
        mut change: impl FnMut(&mut RealmRecord, Timestamp) -> Result<KeyNumber, Error> + Send + 'static,
    ) -> Result<KeyView, Error> {
        let realm = self.realm(realm)?;
        let step = move |record: &mut RealmRecord, now| change(record, now).map(Step::answer);
        let (number, realm, _) = self.realms.change(realm.name(), step).await?;
        self.view(&realm, number)
    }

    fn view(&self, realm: &Realm, number: KeyNumber) -> Result<KeyView, Error> {
        let key = realm.ring.key(number).and_then(|key| KeyView::of(realm, key, self.now()));
        key.ok_or(Error::Key(KeyRefusal::Unknown))
    }
}

pub(super) fn check_algorithm(policy: &RealmPolicy, algorithm: Algorithm) -> Result<(), Error> {
    if policy.key_algorithms().any(|known| known == algorithm) {
        return Ok(());
    }
    let known: Vec<_> = policy.key_algorithms().map(Algorithm::name).collect();
    Err(Error::invalid("algorithm", format!("must be one that the realm has keys of: {}", known.join(", "))))
}

fn known(record: &RealmRecord, kid: &KeyId) -> Result<KeyNumber, KeyRefusal> {
    record.number(kid).ok_or(KeyRefusal::Unknown)
}
