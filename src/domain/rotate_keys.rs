//! The steps of a key's life: those that fall due by the realm's policy, and those that an operator
//! asks for. Each changes the ring alone; whoever commits it makes the keys that it names anew.

use super::algorithm::Algorithm;
use super::ids::KeyNumber;
use super::key_ring::{Key, KeyRing, KeyState};
use super::policy::RealmPolicy;
use super::subject::RequestId;
use super::time::Timestamp;

/// The most keys that wait for their turn; more only make the key set long.
const MAX_PREPARED: usize = 8;

/// Whether an operator waits for verifiers that keep a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishAhead {
    /// The key must have been published for as long as the policy says.
    Required,
    /// At once: verifiers refuse new tokens until they fetch the set again.
    Skipped,
}

/// Why a step of a key's life is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// There is none of that id.
    #[error("the realm has no such key")]
    Unknown,
    /// Nothing waits for its turn.
    #[error("the realm has no prepared key of its algorithm: prepare one")]
    NonePrepared,
    /// Only a prepared key can be activated.
    #[error("the key is not prepared: it has signed before, or was retired or revoked")]
    NotPrepared,
    /// Verifiers may not know it yet.
    #[error("the key has not been published for long enough: verifiers that keep the key set would refuse its tokens")]
    NotPublished,
    /// Nobody would sign.
    #[error("the key is the only one that can sign: prepare another, and retire this one once that is published")]
    OnlyActive,
    /// It ended for good.
    #[error("the key was revoked")]
    Revoked,
    /// Enough wait already.
    #[error("the realm has {MAX_PREPARED} prepared keys of that algorithm already: activate or retire one")]
    TooManyPrepared,
    /// One key, one realm: its tokens would be those of both.
    #[error("the key is one of another realm")]
    OfAnotherRealm,
    /// The request id was used to ask for a key of another algorithm.
    #[error("the request_id was used for another request")]
    RequestIdReused,
}

impl KeyRing {
    /// Takes every step that is due at `now`. Taking them late, twice or from another instance makes
    /// no difference: each follows from what is there.
    pub fn advance(&mut self, policy: &RealmPolicy, now: Timestamp) {
        self.longest_access = self.longest_access.max(policy.access_lifetime);
        let ring = self.clone();
        self.keys.retain(|key| ring.state(key, now) != KeyState::Removed);
        // Without a key so far there is no verifier that keeps an older set: the first ones sign at once.
        let first = if self.signing(policy.algorithm, now).is_none() { now } else { now + policy.keys.ahead() };
        for algorithm in policy.key_algorithms() {
            self.provide(algorithm, first, policy, now);
        }
        self.let_go_of_unwanted(policy, now);
    }

    /// An algorithm has a key that signs, or will; the next one is dated in time; one more stands by.
    fn provide(&mut self, algorithm: Algorithm, first: Timestamp, policy: &RealmPolicy, now: Timestamp) {
        let ahead = policy.keys.ahead();
        let active = self.active(algorithm, now).and_then(|key| key.activates);
        let dated = self.dated(algorithm, now).is_some();
        let turn = match active {
            _ if dated => None,
            None => Some(first),
            // Counted from now, for whatever was committed while no server ran was not published.
            Some(since) => policy.keys.lifetime.map(|lifetime| since + lifetime).and_then(|due| {
                let in_time = now + 2 * ahead >= due;
                in_time.then(|| due.max(now + ahead))
            }),
        };
        if let Some(turn) = turn {
            let number = self.standby_or_new(algorithm, now);
            self.edit(number, |key| key.activates = Some(turn));
        }
        self.standby_or_new(algorithm, now);
    }

    /// Keys of an algorithm that the policy no longer names sign to the end of their lifetime. Not
    /// shorter: while a new policy is rolled out, other instances still name it.
    fn let_go_of_unwanted(&mut self, policy: &RealmPolicy, now: Timestamp) {
        let (Some(lifetime), true) = (policy.keys.lifetime, self.active(policy.algorithm, now).is_some()) else {
            return;
        };
        let wanted: Vec<_> = policy.key_algorithms().collect();
        let over = |key: &Key| key.activates.is_some_and(|since| since + lifetime <= now);
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !wanted.contains(algorithm)) {
            let Some(last) = self.active(algorithm, now).filter(|key| over(key)).map(|key| key.number) else {
                continue;
            };
            let waits = |key: &&mut Key| key.algorithm == algorithm && key.is_standby() || key.number == last;
            self.keys.iter_mut().filter(waits).for_each(|key| key.retired = Some(now));
        }
    }

    /// Makes one more standby of an algorithm that the realm has keys of.
    pub fn prepare(
        &mut self,
        algorithm: Algorithm,
        request: Option<RequestId>,
        now: Timestamp,
    ) -> Result<KeyNumber, KeyRefusal> {
        let named = |key: &&Key| key.request.zip(request).is_some_and(|(known, request)| known.name == request.name);
        if let Some(known) = self.keys.iter().find(named) {
            return if known.request == request { Ok(known.number) } else { Err(KeyRefusal::RequestIdReused) };
        }
        let waiting = self.keys.iter().filter(|key| key.algorithm == algorithm && key.is_standby());
        if waiting.count() >= MAX_PREPARED {
            return Err(KeyRefusal::TooManyPrepared);
        }
        let number = self.make(algorithm, now);
        self.edit(number, |key| key.request = request);
        Ok(number)
    }

    /// Lets a prepared key sign from now on, by default the one that the schedule would take. One
    /// that signs already stays as it is.
    pub fn activate(
        &mut self,
        number: Option<KeyNumber>,
        ahead: PublishAhead,
        policy: &RealmPolicy,
        now: Timestamp,
    ) -> Result<KeyNumber, KeyRefusal> {
        let key = match number {
            Some(number) => self.key(number).ok_or(KeyRefusal::Unknown)?,
            None => {
                let next = self.dated(policy.algorithm, now).or_else(|| self.standby(policy.algorithm));
                next.ok_or(KeyRefusal::NonePrepared)?
            }
        };
        let (number, algorithm) = (key.number, key.algorithm);
        match self.state(key, now) {
            KeyState::Active => return Ok(number),
            KeyState::Revoked => return Err(KeyRefusal::Revoked),
            KeyState::Retiring | KeyState::Removed => return Err(KeyRefusal::NotPrepared),
            KeyState::Prepared => {}
        }
        if ahead == PublishAhead::Required && now < key.created + policy.keys.publish_ahead {
            return Err(KeyRefusal::NotPublished);
        }
        self.take_over(number, algorithm, now);
        Ok(number)
    }

    /// Lets a key sign no more. Where it is the active one, the longest published standby takes over.
    pub fn retire(&mut self, number: KeyNumber, policy: &RealmPolicy, now: Timestamp) -> Result<(), KeyRefusal> {
        let key = *self.key(number).ok_or(KeyRefusal::Unknown)?;
        match self.state(&key, now) {
            KeyState::Revoked => Err(KeyRefusal::Revoked),
            KeyState::Retiring | KeyState::Removed => Ok(()),
            KeyState::Prepared => {
                self.edit(number, |key| (key.activates, key.retired) = (None, Some(now)));
                Ok(())
            }
            KeyState::Active => {
                let published = |key: &&Key| key.created + policy.keys.publish_ahead <= now;
                let next = self.dated(key.algorithm, now).or_else(|| self.standby(key.algorithm)).filter(published);
                if let Some(next) = next.map(|next| next.number) {
                    self.take_over(next, key.algorithm, now);
                } else if policy.key_algorithms().any(|wanted| wanted == key.algorithm) {
                    return Err(KeyRefusal::OnlyActive);
                } else {
                    self.edit(number, |key| key.retired = Some(now));
                }
                Ok(())
            }
        }
    }

    /// Ends a compromised key. Where it signed, another takes over in the same step: a standby, or one
    /// made for that.
    pub fn revoke(&mut self, number: KeyNumber, policy: &RealmPolicy, now: Timestamp) -> Result<(), KeyRefusal> {
        let key = *self.key(number).ok_or(KeyRefusal::Unknown)?;
        if key.revoked.is_some() {
            return Ok(());
        }
        let was = self.state(&key, now);
        self.edit(number, |key| {
            key.revoked = Some(now);
            key.activates = key.activates.filter(|activates| *activates <= now);
        });
        let wanted = policy.key_algorithms().any(|wanted| wanted == key.algorithm);
        if was == KeyState::Active && (wanted || self.signing(policy.algorithm, now).is_none()) {
            let next = self.dated(key.algorithm, now).map(|next| next.number);
            let next = next.unwrap_or_else(|| self.standby_or_new(key.algorithm, now));
            self.take_over(next, key.algorithm, now);
        }
        Ok(())
    }

    /// A key's turn begins now; whichever had a date waits again.
    fn take_over(&mut self, number: KeyNumber, algorithm: Algorithm, now: Timestamp) {
        let dated = self.dated(algorithm, now).map(|dated| dated.number);
        if let Some(dated) = dated {
            self.edit(dated, |key| key.activates = None);
        }
        let taken = |key: &Key| key.algorithm == algorithm && key.activates == Some(now) && key.number > number;
        // A turn of this millisecond with a higher number would come after this one.
        let turn = if self.keys.iter().any(taken) { Timestamp::from_millis(now.millis() + 1) } else { now };
        self.edit(number, |key| key.activates = Some(turn));
    }

    fn standby_or_new(&mut self, algorithm: Algorithm, now: Timestamp) -> KeyNumber {
        let standby = self.standby(algorithm).map(|standby| standby.number);
        standby.unwrap_or_else(|| self.make(algorithm, now))
    }

    fn make(&mut self, algorithm: Algorithm, now: Timestamp) -> KeyNumber {
        self.last_number += 1;
        let number = KeyNumber(self.last_number);
        let (activates, retired, revoked, request) = (None, None, None, None);
        self.keys.push(Key { number, algorithm, created: now, activates, retired, revoked, request });
        number
    }

    fn edit(&mut self, number: KeyNumber, change: impl FnOnce(&mut Key)) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.number == number) {
            change(key);
        }
    }
}

/// What happened to a key, as the audit tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFact {
    /// It was made and is published.
    Prepared(KeyNumber),
    /// Its turn was set.
    Scheduled(KeyNumber, Timestamp),
    /// Its turn was taken back.
    Postponed(KeyNumber),
    /// It signs no more.
    Retired(KeyNumber),
    /// It was compromised.
    Revoked(KeyNumber),
    /// It was forgotten.
    Removed(KeyNumber),
}

impl KeyRing {
    /// What led from an earlier ring to this one.
    pub fn facts_since(&self, before: &Self) -> Vec<KeyFact> {
        let mut facts = Vec::new();
        for key in &self.keys {
            let was = before.key(key.number);
            if was.is_none() {
                facts.push(KeyFact::Prepared(key.number));
            }
            let was = was.copied();
            match (was.and_then(|was| was.activates), key.activates) {
                (before, Some(turn)) if before != Some(turn) => facts.push(KeyFact::Scheduled(key.number, turn)),
                (Some(_), None) => facts.push(KeyFact::Postponed(key.number)),
                _ => {}
            }
            if key.retired.is_some() && was.is_none_or(|was| was.retired.is_none()) {
                facts.push(KeyFact::Retired(key.number));
            }
            if key.revoked.is_some() && was.is_none_or(|was| was.revoked.is_none()) {
                facts.push(KeyFact::Revoked(key.number));
            }
        }
        let gone = before.keys.iter().filter(|key| self.key(key.number).is_none());
        facts.extend(gone.map(|key| KeyFact::Removed(key.number)));
        facts
    }
}

#[cfg(test)]
#[path = "rotate_keys_tests.rs"]
mod tests;
