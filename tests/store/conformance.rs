//! What every store promises, as cases that share one store: each has record keys of its own, and
//! bears that others commit meanwhile.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use token_authority::authority::ports::{Clock as _, Commit, Outcome, RecordKey, Seen, Version};
use token_authority::domain::ids::SubjectKey;

use super::fixtures::{Bench, Follower, commit, fresh, fresh_key, position, realm, revocation, revoking};

type Case = for<'a> fn(&'a Bench) -> BoxFuture<'a, ()>;

macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        const CASES: &[(&str, Case)] = &[$((stringify!($case), |bench| $case(bench).boxed())),+];
    };
}

cases![
    an_absent_record_is_none,
    a_record_reads_back_with_its_version,
    another_version_is_a_conflict,
    a_commit_sent_again_is_committed_once,
    a_commit_sent_again_too_late_is_a_conflict,
    an_expired_record_is_not_there,
    kinds_and_realms_are_key_spaces_of_their_own,
    entries_arrive_in_order_and_before_the_answer,
    a_new_follower_gets_what_was_there,
    a_slow_follower_loses_nothing,
    of_many_committers_one_wins_each_version,
    revisions_grow,
    proof_covers_what_was_committed_before,
    a_conflict_writes_no_entry,
    a_watcher_is_told_of_each_commit_to_its_record,
    a_large_record_survives,
];

/// Runs every case at the same time on one store.
pub(crate) async fn run(backend: &str, bench: &Bench) {
    let outcomes = join_all(
        CASES
            .iter()
            .map(|(name, case)| async move { AssertUnwindSafe(case(bench)).catch_unwind().await.map_err(|_| *name) }),
    )
    .await;
    let ran = outcomes.len();
    let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{backend}: {failed:?}");
    assert!(ran > 0 && ran == CASES.len(), "{backend}: {ran} of {} cases ran", CASES.len());
    bench.store.ready().await.expect("a store that is still ready");
}

async fn send(bench: &Bench, commit: &Commit) -> Outcome {
    bench.store.commit(commit).await.expect("an outcome")
}

async fn an_absent_record_is_none(bench: &Bench) {
    assert_eq!(bench.store.load(&fresh_key()).await.expect("an answer"), None);
}

async fn a_record_reads_back_with_its_version(bench: &Bench) {
    let key = fresh_key();
    let mut before = None;
    for content in [b"first".as_slice(), b"", b"third"] {
        let commit = commit(&key, before, content);
        assert!(matches!(send(bench, &commit).await, Outcome::Committed(_)));
        let stored = bench.store.load(&key).await.expect("an answer").expect("a record");
        assert_eq!((stored.bytes.as_slice(), stored.version), (content, commit.id));
        before = Some(commit.id);
    }
}

async fn another_version_is_a_conflict(bench: &Bench) {
    let key = fresh_key();
    let first = commit(&key, None, b"first");
    assert_eq!(send(bench, &commit(&key, Some(Version(fresh())), b"no")).await, Outcome::Conflict);
    assert!(matches!(send(bench, &first).await, Outcome::Committed(_)));
    assert_eq!(send(bench, &commit(&key, None, b"no")).await, Outcome::Conflict);
    assert_eq!(send(bench, &commit(&key, Some(Version(fresh())), b"no")).await, Outcome::Conflict);
    let stored = bench.store.load(&key).await.expect("an answer").expect("a record");
    assert_eq!((stored.bytes.as_slice(), stored.version), (b"first".as_slice(), first.id));
}

async fn a_commit_sent_again_is_committed_once(bench: &Bench) {
    let mut follower = Follower::of(&*bench.store).await;
    let commit = revoking(&fresh_key(), None, b"once");
    let first = position(bench.store.commit(&commit).await);
    let again = position(bench.store.commit(&commit).await);
    assert!(again.number >= first.number, "the second answer covers the first");
    // Whatever comes twice has come once the next entry of the same partition has.
    let after = revoking(&commit.key, Some(commit.id), b"");
    follower.reach(position(bench.store.commit(&after).await)).await;
    let told = follower.sequence.iter().filter(|entry| **entry == commit.revocations[0]).count();
    assert!(told <= 1 && follower.known.contains(&commit.revocations[0]));
}

async fn a_commit_sent_again_too_late_is_a_conflict(bench: &Bench) {
    let key = fresh_key();
    let first = commit(&key, None, b"first");
    send(bench, &first).await;
    send(bench, &commit(&key, Some(first.id), b"second")).await;
    assert_eq!(send(bench, &first).await, Outcome::Conflict);
    assert_eq!(*bench.store.load(&key).await.expect("an answer").expect("a record").bytes, b"second");
}

async fn an_expired_record_is_not_there(bench: &Bench) {
    let key = fresh_key();
    let mut first = commit(&key, None, b"for a second");
    first.expires = Some(bench.clock.now() + Duration::from_secs(1));
    send(bench, &first).await;
    assert!(bench.store.load(&key).await.expect("an answer").is_some());
    bench.clock.pass(Duration::from_secs(1));
    assert_eq!(bench.store.load(&key).await.expect("an answer"), None);
    assert_eq!(send(bench, &commit(&key, Some(first.id), b"no")).await, Outcome::Conflict);
    let second = commit(&key, None, b"for good");
    assert!(matches!(send(bench, &second).await, Outcome::Committed(_)));
    bench.clock.pass(Duration::from_secs(120));
    send(bench, &commit(&fresh_key(), None, b"lets the store collect garbage")).await;
    assert_eq!(bench.store.load(&key).await.expect("an answer").expect("a record").version, second.id);
}

async fn kinds_and_realms_are_key_spaces_of_their_own(bench: &Bench) {
    // A realm's record has an id of zeros: the subject with the same id and realm is another record.
    let name =
        |prefix: &str| realm(&format!("{prefix}-{:016x}", u64::from_be_bytes(fresh()[..8].try_into().expect("8"))));
    let (here, there) = (name("here"), name("there"));
    let zero = SubjectKey([0; 16]);
    let keys = [
        RecordKey::realm(here.clone()),
        RecordKey::realm(there.clone()),
        RecordKey::subject(here.clone(), zero),
        RecordKey::subject(there.clone(), zero),
        RecordKey::client_assertion(here.clone(), zero.0),
        RecordKey::client_assertion(there.clone(), zero.0),
        RecordKey::code(here.clone(), zero.0),
        RecordKey::code(there, zero.0),
        RecordKey::subject(here, SubjectKey([1; 16])),
    ];
    for key in &keys {
        assert_eq!(bench.store.load(key).await.expect("an answer"), None, "{key:?}");
        let commit = commit(key, None, format!("{key:?}").as_bytes());
        assert!(matches!(send(bench, &commit).await, Outcome::Committed(_)), "{key:?}");
    }
    for key in &keys {
        let stored = bench.store.load(key).await.expect("an answer").expect("a record");
        assert_eq!(*stored.bytes, format!("{key:?}").into_bytes());
    }
}

async fn entries_arrive_in_order_and_before_the_answer(bench: &Bench) {
    let mut follower = Follower::of(&*bench.store).await;
    let mut sent = Vec::new();
    for _ in 0..10 {
        let mut commit = commit(&fresh_key(), None, b"");
        commit.revocations = (0..3).map(|_| revocation(fresh())).collect();
        sent.extend(commit.revocations.clone());
        let position = position(bench.store.commit(&commit).await);
        follower.reach(position).await;
        assert!(commit.revocations.iter().all(|entry| follower.known.contains(entry)));
    }
    // Among other tests' entries; after a snapshot, order is unknown.
    if follower.told_one_by_one() {
        let mine: Vec<_> = follower.sequence.iter().filter(|entry| sent.contains(entry)).cloned().collect();
        assert_eq!(mine, sent);
    }
}

async fn a_new_follower_gets_what_was_there(bench: &Bench) {
    let before = revoking(&fresh_key(), None, b"");
    let position = position(bench.store.commit(&before).await);
    let follower = Follower::of(&*bench.store).await;
    assert!(follower.known.contains(&before.revocations[0]));
    assert!(follower.head(position.partition).is_some_and(|head| head.number >= position.number));
}

async fn a_slow_follower_loses_nothing(bench: &Bench) {
    let mut follower = Follower::of(&*bench.store).await;
    let mut sent = Vec::new();
    let mut positions = Vec::new();
    for _ in 0..8 {
        let mut commit = commit(&fresh_key(), None, b"");
        commit.revocations = (0..500).map(|_| revocation(fresh())).collect();
        sent.extend(commit.revocations.clone());
        positions.push(position(bench.store.commit(&commit).await));
    }
    for position in positions {
        follower.reach(position).await;
    }
    assert!(sent.iter().all(|entry| follower.known.contains(entry)));
}

async fn of_many_committers_one_wins_each_version(bench: &Bench) {
    const EACH: u32 = 10;
    let key = fresh_key();
    let conflicts = join_all((0..8).map(|_| async {
        let (mut won, mut lost) = (0, 0);
        while won < EACH {
            let stored = bench.store.load(&key).await.expect("an answer");
            let (count, version) = stored.map_or((0, None), |stored| {
                (u32::from_be_bytes(stored.bytes.as_slice().try_into().expect("a counter")), Some(stored.version))
            });
            match send(bench, &commit(&key, version, &(count + 1).to_be_bytes())).await {
                Outcome::Committed(_) => won += 1,
                Outcome::Conflict => lost += 1,
            }
        }
        lost
    }))
    .await;
    let stored = bench.store.load(&key).await.expect("an answer").expect("a record");
    assert_eq!(*stored.bytes, (8 * EACH).to_be_bytes(), "a lost or doubled step");
    assert!(conflicts.iter().sum::<u32>() > 0, "nobody raced");
}

async fn revisions_grow(bench: &Bench) {
    // One record, so one partition.
    let key = fresh_key();
    let mut last = revoking(&key, None, b"");
    let mut before = position(bench.store.commit(&last).await);
    for round in 0..20 {
        let with_entry = round % 2 == 0;
        let expected = Some(last.id);
        last = if with_entry { revoking(&key, expected, b"") } else { commit(&key, expected, b"") };
        let now = position(bench.store.commit(&last).await);
        assert_eq!(now.partition, before.partition);
        assert!(now.number >= before.number + u64::from(with_entry), "{before:?} then {now:?}");
        before = now;
    }
}

async fn proof_covers_what_was_committed_before(bench: &Bench) {
    let revocation = revoking(&fresh_key(), None, b"");
    let committed = position(bench.store.commit(&revocation).await);
    let proof = bench.store.proof(&revocation.key).await.expect("an answer");
    let [proof] = proof.positions() else { panic!("{proof:?}") };
    assert!(proof.partition == committed.partition && proof.number >= committed.number);
    let mut follower = Follower::of(&*bench.store).await;
    follower.reach(*proof).await;
    assert!(follower.known.contains(&revocation.revocations[0]));
}

async fn a_conflict_writes_no_entry(bench: &Bench) {
    let key = fresh_key();
    let refused = revoking(&key, Some(Version(fresh())), b"");
    assert_eq!(send(bench, &refused).await, Outcome::Conflict);
    let mut follower = Follower::of(&*bench.store).await;
    follower.reach(position(bench.store.commit(&revoking(&key, None, b"")).await)).await;
    assert!(!follower.known.contains(&refused.revocations[0]));
}

async fn a_watcher_is_told_of_each_commit_to_its_record(bench: &Bench) {
    let (key, other) = (fresh_key(), fresh_key());
    let (mut first, mut second) = (watch(bench, &key).await, watch(bench, &key).await);
    let mut version = None;
    for content in [b"one".as_slice(), b"two"] {
        let before = [first.borrow().changes, second.borrow().changes];
        let commit = commit(&key, version, content);
        send(bench, &commit).await;
        for (seen, before) in [(&mut first, before[0]), (&mut second, before[1])] {
            seen.wait_for(|seen| seen.changes > before).await.expect("goes on");
        }
        assert_eq!(*bench.store.load(&key).await.expect("an answer").expect("a record").bytes, content);
        version = Some(commit.id);
    }
    send(bench, &commit(&other, None, b"not watched")).await;
    // Confirmed after that commit: nothing that it did was to be told here.
    let (before, at) = (first.borrow().changes, bench.clock.now());
    bench.clock.pass(Duration::from_millis(1));
    first.wait_for(|seen| seen.at > at).await.expect("goes on");
    let seen = *first.borrow();
    assert!(seen.changes <= before + 1, "the version alone may have been read for the first time since");

    drop(second);
    let mut late = watch(bench, &key).await;
    let before = late.borrow().changes;
    send(bench, &commit(&key, version, b"three")).await;
    late.wait_for(|seen| seen.changes > before).await.expect("goes on");
}

async fn watch(bench: &Bench, key: &RecordKey) -> tokio::sync::watch::Receiver<Seen> {
    bench.store.watch(key).await.expect("an answer")
}

async fn a_large_record_survives(bench: &Bench) {
    let key = fresh_key();
    let content: Vec<u8> = (0..64 << 10).map(|index: u32| index.to_le_bytes()[0] ^ index.to_le_bytes()[1]).collect();
    send(bench, &commit(&key, None, &content)).await;
    assert_eq!(*bench.store.load(&key).await.expect("an answer").expect("a record").bytes, content);
}
