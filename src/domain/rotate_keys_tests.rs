//! Histories of a realm's keys: any policy, any times, any operator.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::fact::ENTRY_SLACK;
use crate::domain::ids::{Audience, RealmName};
use crate::domain::key_ring::{KeyPolicy, SETTLING};

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const MILLISECOND: Duration = Duration::from_millis(1);

fn policy(keys: KeyPolicy) -> RealmPolicy {
    let realm = RealmName::parse("web").expect("a realm");
    let mut policy = RealmPolicy::permissive(realm, Audience::parse("api").expect("an audience"), None);
    policy.keys = keys;
    policy
}

fn started(policy: &RealmPolicy) -> KeyRing {
    let mut ring = KeyRing::default();
    ring.advance(policy, START);
    ring
}

fn state(ring: &KeyRing, number: u32, now: Timestamp) -> Option<KeyState> {
    ring.key(KeyNumber(number)).map(|key| ring.state(key, now))
}

#[test]
fn the_first_key_signs_at_once_and_a_second_stands_by() {
    let ring = started(&policy(KeyPolicy::default()));
    assert_eq!(ring.keys().len(), 2);
    assert_eq!(state(&ring, 1, START), Some(KeyState::Active));
    assert_eq!(state(&ring, 2, START + 1_000 * HOUR), Some(KeyState::Prepared), "until it is given a date");
    let mut again = ring.clone();
    again.advance(&policy(KeyPolicy::default()), START);
    assert_eq!(again, ring, "nothing is due twice");
}

#[test]
fn a_key_gives_way_at_the_end_of_its_lifetime_and_stays_until_its_last_token() {
    let policy = policy(KeyPolicy::default());
    let mut ring = started(&policy);
    let due = START + 90 * 24 * HOUR;
    ring.advance(&policy, due - 3 * HOUR);
    assert_eq!(ring.keys().len(), 2, "too early");
    ring.advance(&policy, due - 2 * HOUR);
    assert_eq!(ring.key(KeyNumber(2)).and_then(|key| key.activates), Some(due), "on the date");
    assert_eq!(state(&ring, 3, due), Some(KeyState::Prepared), "the next standby is published before");
    let states = |now| (state(&ring, 1, now), state(&ring, 2, now));
    assert_eq!(states(due - MILLISECOND), (Some(KeyState::Active), Some(KeyState::Prepared)));
    assert_eq!(states(due), (Some(KeyState::Retiring), Some(KeyState::Active)));
    let last = due + policy.access_lifetime + ENTRY_SLACK;
    assert_eq!(states(last).0, Some(KeyState::Retiring));
    let removed = due + ring.overlap();
    assert_eq!(states(removed).0, Some(KeyState::Removed));
    ring.advance(&policy, removed);
    assert_eq!(ring.key(KeyNumber(1)), None);
}

#[test]
fn a_lifetime_that_ran_out_unnoticed_still_publishes_ahead() {
    let policy = policy(KeyPolicy::default());
    let mut ring = started(&policy);
    let late = START + 400 * 24 * HOUR;
    ring.advance(&policy, late);
    assert_eq!(state(&ring, 1, late + HOUR), Some(KeyState::Active));
    assert_eq!(state(&ring, 2, late + HOUR + SETTLING), Some(KeyState::Active));
}

#[test]
fn another_algorithm_signs_once_its_key_is_known() {
    let mut policy = policy(KeyPolicy::default());
    let mut ring = started(&policy);
    policy.algorithm = Algorithm::Es256;
    ring.advance(&policy, START + HOUR);
    let signs = |ring: &KeyRing, now| ring.signing(Algorithm::Es256, now).map(|key| key.algorithm);
    let known = START + HOUR + policy.keys.ahead();
    assert_eq!(signs(&ring, known - MILLISECOND), Some(Algorithm::Rs256));
    assert_eq!(signs(&ring, known), Some(Algorithm::Es256));
    // What other instances may still be told to sign with goes at the end of its lifetime.
    ring.advance(&policy, known);
    assert_eq!(state(&ring, 1, known), Some(KeyState::Active));
    ring.advance(&policy, START + 90 * 24 * HOUR);
    assert_eq!(ring.active(Algorithm::Rs256, START + 90 * 24 * HOUR), None);
    assert_eq!(ring.standby(Algorithm::Rs256), None);
}

#[test]
fn an_operator_is_told_what_the_state_does_not_allow() {
    let policy = policy(KeyPolicy::default());
    let mut ring = started(&policy);
    let (first, standby) = (KeyNumber(1), KeyNumber(2));
    let required = PublishAhead::Required;
    assert_eq!(ring.activate(Some(KeyNumber(9)), required, &policy, START), Err(KeyRefusal::Unknown));
    assert_eq!(ring.activate(None, required, &policy, START + 59 * HOUR / 60), Err(KeyRefusal::NotPublished));
    assert_eq!(ring.retire(first, &policy, START), Err(KeyRefusal::OnlyActive));
    assert_eq!(ring.activate(None, required, &policy, START + HOUR), Ok(standby));
    assert_eq!(ring.activate(Some(standby), required, &policy, START + HOUR), Ok(standby), "again");
    assert_eq!(ring.activate(None, required, &policy, START + HOUR), Err(KeyRefusal::NonePrepared));
    assert_eq!(ring.activate(Some(first), required, &policy, START + HOUR), Err(KeyRefusal::NotPrepared));
    ring.advance(&policy, START + HOUR);
    ring.revoke(KeyNumber(3), &policy, START + HOUR).expect("a standby");
    assert_eq!(ring.activate(Some(KeyNumber(3)), required, &policy, START + HOUR), Err(KeyRefusal::Revoked));
    assert_eq!(ring.retire(KeyNumber(3), &policy, START + HOUR), Err(KeyRefusal::Revoked));
    for _ in 0..MAX_PREPARED {
        ring.prepare(Algorithm::Rs256, None, START + HOUR).expect("room");
    }
    assert_eq!(ring.prepare(Algorithm::Rs256, None, START + HOUR), Err(KeyRefusal::TooManyPrepared));
}

#[test]
fn a_request_makes_one_key() {
    let mut ring = started(&policy(KeyPolicy::default()));
    let named = |content| Some(RequestId { name: [7; 16], content: [content; 16] });
    let number = ring.prepare(Algorithm::Rs256, named(1), START).expect("a key");
    assert_eq!(ring.prepare(Algorithm::Rs256, named(1), START + HOUR), Ok(number));
    assert_eq!(ring.prepare(Algorithm::Es256, named(2), START + HOUR), Err(KeyRefusal::RequestIdReused));
    assert_ne!(ring.prepare(Algorithm::Rs256, None, START), Ok(number));
}

#[test]
fn a_revoked_key_is_replaced_in_the_same_step() {
    let policy = policy(KeyPolicy::default());
    let mut ring = started(&policy);
    ring.revoke(KeyNumber(1), &policy, START).expect("the active one");
    assert_eq!(state(&ring, 1, START), Some(KeyState::Revoked));
    assert_eq!(state(&ring, 2, START), Some(KeyState::Active), "the standby");
    ring.revoke(KeyNumber(2), &policy, START).expect("the next");
    assert_eq!(state(&ring, 3, START), Some(KeyState::Active), "one made for it");
    assert_eq!(state(&ring, 1, START + ring.overlap()), Some(KeyState::Removed));
    // One that had a date, and its successor, are not forgotten over it.
    ring.advance(&policy, START);
    let due = START + 90 * 24 * HOUR;
    ring.advance(&policy, due - 2 * HOUR);
    ring.revoke(KeyNumber(4), &policy, due - HOUR).expect("the dated one");
    ring.advance(&policy, due - HOUR);
    assert_eq!(state(&ring, 3, due), Some(KeyState::Active));
    assert_eq!(state(&ring, 5, due + SETTLING), Some(KeyState::Active));
}

#[test]
fn a_number_is_never_given_twice() {
    let policy = policy(KeyPolicy::default());
    let mut ring = started(&policy);
    ring.prepare(Algorithm::Rs256, None, START).expect("room");
    ring.revoke(KeyNumber(3), &policy, START).expect("a standby");
    // No server runs until the next rotation is due: one step forgets the revoked key and makes another.
    let mut ring = KeyRing::restore(ring.keys, ring.longest_access, ring.last_number);
    ring.advance(&policy, START + 90 * 24 * HOUR);
    let numbers: Vec<_> = ring.keys().iter().map(|key| key.number.0).collect();
    assert_eq!(numbers, [1, 2, 4]);
    assert_eq!(KeyRing::restore(ring.keys, ring.longest_access, 0).last_number(), 4, "of before this was remembered");
}

/// Something that happens to a realm.
#[derive(Debug, Clone)]
enum Event {
    Pass(Duration),
    AccessLifetime(u64),
    Prepare,
    Activate(PublishAhead),
    Retire(u32),
    Revoke(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let ahead = prop_oneof![Just(PublishAhead::Required), Just(PublishAhead::Skipped)];
    let pass = |most: u64| (1..most).prop_map(|seconds| Event::Pass(Duration::from_secs(seconds)));
    prop_oneof![
        4 => pass(100),
        8 => pass(7_200),
        4 => pass(40 * 86_400),
        1 => (1..86_400_u64).prop_map(Event::AccessLifetime),
        1 => Just(Event::Prepare),
        1 => ahead.prop_map(Event::Activate),
        1 => (1..12_u32).prop_map(Event::Retire),
        1 => (1..12_u32).prop_map(Event::Revoke),
    ]
}

fn any_policy() -> impl Strategy<Value = RealmPolicy> {
    let algorithms = prop::collection::btree_set(prop::sample::select(&Algorithm::ALL[..]), 0..3);
    let lifetime = prop::option::of(3_600..100 * 86_400_u64);
    (lifetime, 600..7 * 86_400_u64, algorithms).prop_map(|(lifetime, ahead, algorithms)| {
        let lifetime = lifetime.map(Duration::from_secs);
        policy(KeyPolicy { lifetime, publish_ahead: Duration::from_secs(ahead), algorithms })
    })
}

/// What verifiers and token holders rely on, watched over a history.
struct Watch {
    policy: RealmPolicy,
    ring: KeyRing,
    now: Timestamp,
    /// Keys that signed before they were published for long enough, because that was asked for.
    hurried: BTreeSet<KeyNumber>,
    used: BTreeSet<KeyNumber>,
    /// When each number was given.
    given: BTreeMap<KeyNumber, Timestamp>,
    /// When the last token of each key that has signed expires, leeway included.
    needed: BTreeMap<KeyNumber, Timestamp>,
}

impl Watch {
    fn new(policy: RealmPolicy) -> Self {
        let ring = started(&policy);
        let hurried = ring.keys().iter().filter(|key| key.activates.is_some()).map(|key| key.number).collect();
        let (used, given, needed) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { policy, ring, now: START, hurried, used, given, needed }
    }

    fn step(&mut self, event: &Event) {
        let (policy, now) = (&self.policy, self.now);
        match *event {
            Event::Pass(time) => self.pass(time),
            Event::AccessLifetime(seconds) => self.policy.access_lifetime = Duration::from_secs(seconds),
            Event::Prepare => drop(self.ring.prepare(policy.algorithm, None, now)),
            Event::Activate(ahead) => {
                if let (Ok(number), PublishAhead::Skipped) = (self.ring.activate(None, ahead, policy, now), ahead) {
                    self.hurried.insert(number);
                }
            }
            Event::Retire(number) => drop(self.ring.retire(KeyNumber(number), policy, now)),
            Event::Revoke(number) => {
                if self.ring.revoke(KeyNumber(number), policy, now).is_ok() {
                    let active = self.ring.keys().iter().filter(|key| self.ring.state(key, now) == KeyState::Active);
                    self.hurried.extend(active.map(|key| key.number));
                }
            }
        }
        self.look(self.now);
        self.ring.advance(&self.policy, self.now);
        self.look(self.now);
    }

    /// Looks wherever a state can change on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let ring = &self.ring;
        let edges = ring.keys().iter().flat_map(|key| [key.activates, ring.retires(key), ring.removes(key)]).flatten();
        let edges = edges.flat_map(|edge| [edge - MILLISECOND, edge, edge + MILLISECOND]);
        let mut instants: Vec<_> = edges.filter(|edge| (self.now..end).contains(edge)).collect();
        instants.extend([self.now + time / 3, end]);
        instants.sort_unstable();
        instants.into_iter().for_each(|instant| self.look(instant));
        self.now = end;
    }

    fn look(&mut self, now: Timestamp) {
        let ring = &self.ring;
        for key in ring.keys() {
            let given = *self.given.entry(key.number).or_insert(key.created);
            assert_eq!(given, key.created, "{:?} is given twice: {ring:?}", key.number);
        }
        for algorithm in Algorithm::ALL {
            let of_algorithm = || ring.keys().iter().filter(|key| key.algorithm == algorithm);
            let active: Vec<_> = of_algorithm().filter(|key| ring.state(key, now) == KeyState::Active).collect();
            let had_its_turn = of_algorithm().any(|key| key.activates.is_some_and(|turn| turn <= now));
            let wanted = self.policy.key_algorithms().any(|wanted| wanted == algorithm);
            assert_eq!(active.len(), usize::from(wanted && had_its_turn), "{algorithm} at {now:?}: {ring:?}");
            for key in active {
                if self.used.insert(key.number) && !self.hurried.contains(&key.number) {
                    assert!(key.created + self.policy.keys.publish_ahead <= now, "{key:?} signs unpublished");
                }
                self.needed.insert(key.number, now + self.policy.access_lifetime + ENTRY_SLACK);
            }
        }
        assert!(ring.signing(self.policy.algorithm, now).is_some(), "nobody signs at {now:?}: {ring:?}");
        for (number, until) in &self.needed {
            let published = ring.key(*number).is_some_and(|key| key.revoked.is_some() || ring.is_published(key, now));
            assert!(published || *until < now, "{number:?} gone by {now:?}: {ring:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Of each algorithm exactly one key is active at every instant; it was published before, for the
    /// slowest verifier; and it stays published until its last token is over. No number is another key's.
    #[test]
    fn no_history_lets_a_verification_fail(policy in any_policy(), events in prop::collection::vec(event(), 1..80)) {
        let mut watch = Watch::new(policy);
        for event in &events {
            watch.step(event);
        }
    }
}
