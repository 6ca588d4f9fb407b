//! A realm in service: its policy with the secrets and keys that its record holds. The record is made
//! at the first start; whoever starts later, or at the same time, finds it.

use std::sync::Arc;

use tracing::debug;

use crate::domain::ids::{KeyNumber, RealmName, Subject, SubjectKey};
use crate::domain::key_ring::{KeyRing, KeyState};
use crate::domain::policy::RealmPolicy;
use crate::domain::session::Place;
use crate::domain::time::Timestamp;
use crate::signing::key::SigningKey;
use crate::signing::pepper::Pepper;
use crate::signing::refresh_token::RefreshKey;

use super::clients::Clients;
use super::error::Error;
use super::ports::{Clock, Entropy, RecordKey, Store, Version};
use super::realm_change::{Ports, Step, change};
use super::realm_record::{Keys, PEPPER_ID, RealmRecord};

/// A realm as its record was when it was last read.
#[derive(Debug)]
pub struct Realm {
    /// What it allows.
    pub policy: RealmPolicy,
    /// Who may call, and for what.
    pub clients: Arc<Clients>,
    /// The `iss` of the tokens that it issues (RFC 8414, section 2).
    pub issuer: Arc<str>,
    /// The `iss` values of tokens that it accepts: today's and earlier ones.
    pub issuers: Vec<Arc<str>>,
    /// Opens and seals refresh tokens.
    pub refresh_key: RefreshKey,
    pub(super) ring: KeyRing,
    pub(super) keys: Keys,
    pub(super) version: Version,
    pepper: Pepper,
}

impl Realm {
    /// Reads the realm's record, or makes it: secrets, and keys of the policy's algorithms.
    pub async fn open(
        policy: RealmPolicy,
        clients: Arc<Clients>,
        issuer: &str,
        store: &dyn Store,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Arc<Self>, Error> {
        let issuer = Arc::from(issuer);
        let ports = Ports { store, clock, entropy };
        let opened = change(ports, &policy, &clients, &issuer, None, |record, now| {
            record.remember_issuer(&issuer);
            record.ring.advance(&policy, now);
            Ok(Step::answer(()))
        });
        Ok(opened.await?.realm)
    }

    /// What a record says.
    pub(super) fn of(
        record: &RealmRecord,
        version: Version,
        policy: RealmPolicy,
        clients: Arc<Clients>,
        issuer: Arc<str>,
    ) -> Result<Self, Error> {
        Ok(Self {
            policy,
            clients,
            issuer,
            issuers: record.issuers.iter().map(|issuer| issuer.as_str().into()).collect(),
            refresh_key: record.refresh_key()?,
            pepper: record.pepper()?,
            ring: record.ring.clone(),
            keys: record.keys().clone(),
            version,
        })
    }

    /// The answer to a refresh as the realm tells it.
    pub fn told(&self, error: impl Into<Error>) -> Error {
        match (error.into(), &self.policy.messages.refresh_invalid) {
            (Error::Refused(why), Some(told)) if why.is_of_refresh_token() => {
                debug!(realm = self.name().as_str(), reason = why.name(), "refresh refused");
                Error::Folded { why, told: told.clone() }
            }
            (error, _) => error,
        }
    }

    /// Where a subject's record stands.
    pub fn place(&self, subject: &Subject) -> Place {
        self.place_of(self.pepper.subject_key(subject))
    }

    /// Where the record with this key stands.
    pub fn place_of(&self, subject: SubjectKey) -> Place {
        Place { pepper_id: PEPPER_ID, subject }
    }

    /// Whether a place can be in this realm. Which pepper made the key is all that can be told
    /// without reading: a key of another realm leads to no record.
    pub fn knows(&self, place: Place) -> bool {
        place.pepper_id == PEPPER_ID
    }

    /// The record of a place.
    pub fn record_key(&self, place: Place) -> RecordKey {
        RecordKey::subject(self.policy.realm.clone(), place.subject)
    }

    /// The realm's name.
    pub fn name(&self) -> &RealmName {
        &self.policy.realm
    }

    /// The key that signs at `now`.
    pub(super) fn signing_key(&self, now: Timestamp) -> Option<(KeyNumber, &SigningKey)> {
        let number = self.ring.signing(self.policy.algorithm, now)?.number;
        Some((number, self.keys.get(&number)?))
    }

    /// Keys that tokens may be checked with at `now`.
    pub(super) fn published(&self, now: Timestamp) -> impl Iterator<Item = &Arc<SigningKey>> {
        let published = self.ring.keys().iter().filter(move |key| self.ring.is_published(key, now));
        published.filter_map(|key| self.keys.get(&key.number))
    }

    /// Keys that were compromised, with when their last token is over.
    pub(super) fn revoked(&self, now: Timestamp) -> impl Iterator<Item = (&SigningKey, Timestamp)> {
        let revoked = self.ring.keys().iter().filter(move |key| self.ring.state(key, now) == KeyState::Revoked);
        revoked.filter_map(|key| Some((&**self.keys.get(&key.number)?, self.ring.removes(key)?)))
    }

    /// Whether the policy asks for a step at `now`.
    pub(super) fn is_step_due(&self, now: Timestamp) -> bool {
        let mut next = self.ring.clone();
        next.advance(&self.policy, now);
        next != self.ring
    }
}
