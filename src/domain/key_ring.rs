//! A realm's signing keys over time: prepared, active, retiring, removed, each a function of time. A
//! state is never stored, so no step can be half taken. Holds no key material.

use std::collections::BTreeSet;
use std::time::Duration;

use super::algorithm::Algorithm;
use super::fact::ENTRY_SLACK;
use super::ids::KeyNumber;
use super::policy::REQUEST_DEADLINE;
use super::subject::RequestId;
use super::time::Timestamp;

/// How long a change takes to reach whoever asks this service: the other instances look every 30 s,
/// and HTTP caches keep a key set for 300 s.
pub const SETTLING: Duration = Duration::from_secs(360);

/// How a realm's keys rotate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy {
    /// How long a key signs before the next takes over; `None`: until somebody says so.
    pub lifetime: Option<Duration>,
    /// How long a key is published before it signs: longer than verifiers keep a key set.
    pub publish_ahead: Duration,
    /// Algorithms to have keys of beside the one that signs, so that it can be changed to one of them.
    pub algorithms: BTreeSet<Algorithm>,
}

impl KeyPolicy {
    /// What a scheduled step allows for publication, caches included.
    pub fn ahead(&self) -> Duration {
        self.publish_ahead + SETTLING
    }
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self {
            lifetime: Some(Duration::from_secs(90 * 86_400)),
            publish_ahead: Duration::from_secs(3_600),
            algorithms: BTreeSet::new(),
        }
    }
}

/// Where in its life a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Published, not yet signing.
    Prepared,
    /// Signs new tokens.
    Active,
    /// Signs no more; published until its last token has expired.
    Retiring,
    /// No longer published, and about to be forgotten.
    Removed,
    /// Compromised: not published, and its tokens are ended.
    Revoked,
}

/// What is decided of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Which.
    pub number: KeyNumber,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Published from.
    pub created: Timestamp,
    /// Signs from; `None` for a standby.
    pub activates: Option<Timestamp>,
    /// Signs no more from, though no other takes over.
    pub retired: Option<Timestamp>,
    /// Compromised since.
    pub revoked: Option<Timestamp>,
    /// The request that asked for it.
    pub request: Option<RequestId>,
}

impl Key {
    /// Whether it waits without a date.
    pub(super) fn is_standby(&self) -> bool {
        self.activates.is_none() && self.retired.is_none() && self.revoked.is_none()
    }

    /// Later turns take over from earlier ones; the number decides within a millisecond.
    fn turn(&self) -> Option<(Timestamp, KeyNumber)> {
        self.activates.map(|activates| (activates, self.number))
    }
}

/// All keys of a realm. Of an algorithm, the key with the latest turn signs: never two.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRing {
    /// By number.
    pub(super) keys: Vec<Key>,
    /// The highest access lifetime ever in force.
    pub(super) longest_access: Duration,
    /// The highest number ever given: none is given twice, or a key that was removed would lend its
    /// private part to the next.
    pub(super) last_number: u32,
}

impl KeyRing {
    /// As it was stored. What was stored before numbers were remembered has a `last_number` of 0.
    pub fn restore(mut keys: Vec<Key>, longest_access: Duration, last_number: u32) -> Self {
        keys.sort_by_key(|key| key.number);
        let last_number = keys.last().map_or(0, |key| key.number.0).max(last_number);
        Self { keys, longest_access, last_number }
    }

    /// By number.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The highest access lifetime ever in force.
    pub fn longest_access(&self) -> Duration {
        self.longest_access
    }

    /// The highest number ever given.
    pub fn last_number(&self) -> u32 {
        self.last_number
    }

    /// The key of that number.
    pub fn key(&self, number: KeyNumber) -> Option<&Key> {
        self.keys.iter().find(|key| key.number == number)
    }

    /// The one key of the algorithm that signs at `now`.
    pub fn active(&self, algorithm: Algorithm, now: Timestamp) -> Option<&Key> {
        self.keys.iter().find(|key| key.algorithm == algorithm && self.state(key, now) == KeyState::Active)
    }

    /// The key that signs tokens: of that algorithm, or of another one while this one's first key is
    /// not yet known to every verifier.
    pub fn signing(&self, algorithm: Algorithm, now: Timestamp) -> Option<&Key> {
        let any = || self.keys.iter().find(|key| self.state(key, now) == KeyState::Active);
        self.active(algorithm, now).or_else(any)
    }

    /// For how long each key that signs at `now` has done so: of an algorithm, one.
    pub fn ages(&self, now: Timestamp) -> impl Iterator<Item = (Algorithm, Duration)> {
        let active = self.keys.iter().filter(move |key| self.state(key, now) == KeyState::Active);
        active.filter_map(move |key| Some((key.algorithm, now.since(key.activates?))))
    }

    /// Whether tokens of this key may be checked with it.
    pub fn is_published(&self, key: &Key, now: Timestamp) -> bool {
        matches!(self.state(key, now), KeyState::Prepared | KeyState::Active | KeyState::Retiring)
    }

    /// Where a key stands at `now`.
    pub fn state(&self, key: &Key, now: Timestamp) -> KeyState {
        let over = self.removes(key).is_some_and(|removes| removes <= now);
        if key.revoked.is_some() {
            return if over { KeyState::Removed } else { KeyState::Revoked };
        }
        match self.retires(key) {
            Some(retires) if retires <= now => {
                if over {
                    KeyState::Removed
                } else {
                    KeyState::Retiring
                }
            }
            _ if key.activates.is_some_and(|activates| activates <= now) => KeyState::Active,
            _ => KeyState::Prepared,
        }
    }

    /// When it stops to sign: once the next one of its algorithm takes over, unless that was said.
    pub fn retires(&self, key: &Key) -> Option<Timestamp> {
        let said = key.revoked.into_iter().chain(key.retired);
        said.chain(self.successor(key).and_then(|next| next.activates)).min()
    }

    /// When it leaves the published set and is forgotten.
    pub fn removes(&self, key: &Key) -> Option<Timestamp> {
        self.retires(key).map(|retires| retires + self.overlap())
    }

    /// How long a key's last token can be in use: signed by an instance that has not heard yet, by a
    /// call at its deadline, and accepted by a verifier with the most leeway.
    pub fn overlap(&self) -> Duration {
        self.longest_access + REQUEST_DEADLINE + ENTRY_SLACK + SETTLING
    }

    fn successor(&self, key: &Key) -> Option<&Key> {
        let turn = key.turn()?;
        let later = |other: &&Key| other.algorithm == key.algorithm && other.turn().is_some_and(|other| other > turn);
        self.keys.iter().filter(later).min_by_key(|other| other.turn())
    }

    /// The key of the algorithm whose turn has a date that is still ahead.
    pub(super) fn dated(&self, algorithm: Algorithm, now: Timestamp) -> Option<&Key> {
        let ahead = |key: &&Key| key.algorithm == algorithm && key.activates.is_some_and(|activates| now < activates);
        self.keys.iter().find(ahead)
    }

    /// The standby of the algorithm that has been published longest.
    pub(super) fn standby(&self, algorithm: Algorithm) -> Option<&Key> {
        let standbys = self.keys.iter().filter(|key| key.algorithm == algorithm && key.is_standby());
        standbys.min_by_key(|key| (key.created, key.number))
    }
}
