//! What the embedded store promises beyond every store: group commit, garbage, its own end.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use redb::{ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};
use token_authority::authority::ports::{LogUpdate, Outcome, Store as _, StoreError};
use token_authority::domain::revocation::{RevocationEntry, RevocationScope};
use token_authority::domain::time::Timestamp;
use token_authority::store::embedded::{EmbeddedStore, Limits};
use token_authority::store::sealing::SealedStore;

use super::fixtures::{
    Follower, NOON, SeededEntropy, TurnedClock, commit, fresh, fresh_key, kek, open, position, revocation, revoking,
};

fn rows(directory: &Path) -> (u64, u64) {
    let database = redb::Database::open(directory.join("store.redb")).expect("the store's file");
    let transaction = database.begin_read().expect("a transaction");
    let records = transaction.open_table(TableDefinition::<&[u8], &[u8]>::new("records")).expect("a table");
    let log = transaction.open_table(TableDefinition::<u64, &[u8]>::new("log")).expect("a table");
    let record_expiry = TableDefinition::<(i64, &[u8]), ()>::new("record_expiry");
    let log_expiry = TableDefinition::<(i64, u64), ()>::new("log_expiry");
    let record_expiry = transaction.open_table(record_expiry).expect("a table").len().expect("a length");
    let log_expiry = transaction.open_table(log_expiry).expect("a table").len().expect("a length");
    let (records, log) = (records.len().expect("a length"), log.len().expect("a length"));
    assert!(record_expiry <= records, "expiry rows of records that are gone");
    assert_eq!(log_expiry, log, "expiry rows of entries that are gone");
    (records, log)
}

#[tokio::test]
async fn entries_are_sent_before_the_commit_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), &TurnedClock::at(NOON));
    let mut follower = Follower::of(&store).await;
    for _ in 0..20 {
        let commit = revoking(&fresh_key(), None, b"");
        store.commit(&commit).await.expect("an outcome");
        follower.take_sent();
        assert!(follower.known.contains(&commit.revocations[0]));
    }
}

#[tokio::test]
async fn a_follower_that_lags_too_far_gets_a_snapshot_and_then_entries_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), &TurnedClock::at(NOON));
    let mut follower = Follower::of(&store).await;
    let mut flood = commit(&fresh_key(), None, b"");
    flood.revocations = (0..5000).map(|_| revocation(fresh())).collect();
    follower.reach(position(store.commit(&flood).await)).await;
    assert_eq!(follower.snapshots, 2);
    assert!(flood.revocations.iter().all(|entry| follower.known.contains(entry)));
    let after = revoking(&fresh_key(), None, b"");
    follower.reach(position(store.commit(&after).await)).await;
    assert_eq!((follower.snapshots, follower.sequence.last()), (2, after.revocations.first()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_joins_while_others_commit_misses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), &TurnedClock::at(NOON));
    let commits = async {
        let mut sent = HashSet::new();
        for _ in 0..200 {
            let commit = revoking(&fresh_key(), None, b"");
            store.commit(&commit).await.expect("an outcome");
            sent.insert(commit.revocations[0].clone());
        }
        sent
    };
    let joins = async {
        let mut followers = Vec::new();
        for _ in 0..100 {
            followers.push(Follower::of(&store).await);
            tokio::task::yield_now().await;
        }
        followers
    };
    let (sent, followers) = tokio::join!(commits, joins);
    let last = position(store.commit(&revoking(&fresh_key(), None, b"")).await);
    for mut follower in followers {
        follower.reach(last).await;
        assert!(sent.is_subset(&follower.known));
    }
}

#[tokio::test]
async fn inside_a_batch_the_first_of_two_wins_and_the_same_twice_is_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), &TurnedClock::at(NOON));
    for _ in 0..20 {
        let key = fresh_key();
        let rivals: Vec<_> = (0..8).map(|_| revoking(&key, None, b"")).collect();
        let outcomes = join_all(rivals.iter().map(|commit| store.commit(commit))).await;
        let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Committed(_)))).count();
        let lost = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Conflict))).count();
        assert_eq!((won, lost), (1, 7));
        let twice = revoking(&fresh_key(), None, b"");
        let outcomes = join_all((0..4).map(|_| store.commit(&twice))).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Outcome::Committed(_)))));
    }
    store.close();
    assert_eq!(rows(directory.path()), (40, 40));
}

#[tokio::test]
async fn a_full_queue_refuses_and_writes_nothing_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = Limits { queued_commits: 2, batch: 1, ..Limits::default() };
    let entropy = SeededEntropy::named("store");
    let store =
        EmbeddedStore::open_limited(directory.path(), &limits, TurnedClock::at(NOON), entropy).expect("a store");
    let commits: Vec<_> = (0..100).map(|_| commit(&fresh_key(), None, b"")).collect();
    let outcomes = join_all(commits.iter().map(|commit| store.commit(commit))).await;
    let mut refused = 0;
    for (commit, outcome) in commits.iter().zip(&outcomes) {
        let there = store.load(&commit.key).await.expect("an answer").is_some();
        match outcome {
            Ok(Outcome::Committed(_)) => assert!(there),
            Err(StoreError::Unavailable(reason)) => {
                assert_eq!((there, &**reason), (false, "queue full"));
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0 && refused < 100, "{refused} refused");
}

#[tokio::test]
async fn garbage_goes_in_time_and_not_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = TurnedClock::at(NOON);
    let store = open(directory.path(), &clock);
    let minute = NOON + Duration::from_secs(60);
    let brief = |until: Timestamp| {
        let mut commit = commit(&fresh_key(), None, b"brief");
        commit.expires = Some(until);
        let scope = RevocationScope::Token(commit.id.0);
        commit.revocations = vec![RevocationEntry { scope, until }];
        commit
    };
    let brief: Vec<_> = (0..900).map(|_| brief(minute)).collect();
    join_all(brief.iter().map(|commit| store.commit(commit))).await;
    // A record whose expiry moved on stays.
    let mut moved = commit(&brief[0].key, Some(brief[0].id), b"longer");
    moved.expires = Some(minute + Duration::from_secs(3600));
    store.commit(&moved).await.expect("an outcome");
    // Expired, but within the slack: still in the log.
    clock.pass(Duration::from_secs(119));
    store.commit(&commit(&fresh_key(), None, b"")).await.expect("an outcome");
    assert_eq!(Follower::of(&store).await.known.len(), 900);
    assert!(store.load(&brief[1].key).await.expect("an answer").is_none());
    // Past the slack the idle writer removes it all, in several bounded steps.
    clock.pass(Duration::from_secs(1));
    let emptied = async { while !Follower::of(&store).await.known.is_empty() {} };
    tokio::time::timeout(Duration::from_secs(20), emptied).await.expect("no garbage after some seconds");
    assert_eq!(store.load(&moved.key).await.expect("an answer").expect("a record").version, moved.id);
    store.close();
    assert_eq!(rows(directory.path()), (2, 0));
}

#[tokio::test]
async fn opened_again_it_knows_all_and_counts_on_even_if_the_clock_went_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = revoking(&fresh_key(), None, b"first");
    let store = open(directory.path(), &TurnedClock::at(NOON));
    let before = position(store.commit(&first).await);
    drop(store);
    let store = open(directory.path(), &TurnedClock::at(NOON - Duration::from_secs(3600)));
    let follower = Follower::of(&store).await;
    assert_eq!(follower.head(0), Some(before));
    assert!(follower.known.contains(&first.revocations[0]));
    assert_eq!(store.load(&first.key).await.expect("an answer").expect("a record").version, first.id);
    let after = position(store.commit(&revoking(&fresh_key(), None, b"")).await);
    assert_eq!(after.number, before.number + 1);
    assert_eq!(position(store.commit(&first).await), after, "sent again after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_it_has_answered_everybody_and_refuses_the_rest() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Arc::new(open(directory.path(), &TurnedClock::at(NOON)));
    let mut stream = store.follow().await.expect("a stream");
    let commits: Vec<_> = (0..300).map(|_| commit(&fresh_key(), None, b"")).collect();
    let closing = store.clone();
    let closing = tokio::task::spawn_blocking(move || closing.close());
    let outcomes = join_all(commits.iter().map(|commit| store.commit(commit))).await;
    closing.await.expect("a closed store");
    assert!(matches!(store.ready().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.load(&fresh_key()).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.follow().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.commit(&commits[0]).await, Err(StoreError::Unavailable(_))));
    while stream.recv().await.is_some() {}
    let store = open(directory.path(), &TurnedClock::at(NOON));
    for (commit, outcome) in commits.iter().zip(outcomes) {
        let there = store.load(&commit.key).await.expect("an answer").is_some();
        match outcome {
            Ok(Outcome::Committed(_)) => assert!(there),
            Err(StoreError::Unavailable(_)) => assert!(!there),
            Err(StoreError::OutcomeUnknown(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Bit rot: whatever is damaged, a record reads as it was, not at all, or with an error; the log reads
/// whole or with an error. And no call takes the caller down with it.
#[tokio::test]
async fn damage_never_alters_a_record_nor_shortens_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.redb");
    let clock = TurnedClock::at(NOON);
    let bare = Arc::new(open(directory.path(), &clock));
    let entropy = SeededEntropy::named("damage");
    let store = SealedStore::open(bare.clone(), &[kek(1)], &*entropy).await.expect("an open vault");
    let commits: Vec<_> = (0..60).map(|_| revoking(&fresh_key(), None, &[0x5a; 400])).collect();
    join_all(commits.iter().map(|commit| store.commit(commit))).await;
    bare.close();
    let whole = std::fs::read(&file).expect("the file");
    let used = whole.iter().rposition(|byte| *byte != 0).expect("content");
    let mut found = 0;
    for round in 0..600 {
        let mut damaged = whole.clone();
        damaged[round * used / 600] ^= 1 << (round % 8);
        std::fs::write(&file, damaged).expect("the file");
        let Ok(bare) = EmbeddedStore::open(directory.path(), clock.clone(), entropy.clone()) else {
            found += 1;
            continue;
        };
        let bare = Arc::new(bare);
        match bare.follow().await.map(|mut updates| updates.try_recv()) {
            Ok(Ok(LogUpdate::Snapshot { entries, .. })) => assert_eq!(entries.len(), commits.len()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => found += 1,
        }
        let Ok(store) = SealedStore::open(bare, &[kek(1)], &*entropy).await else { continue };
        for commit in &commits {
            match store.load(&commit.key).await {
                Ok(Some(stored)) => assert_eq!((&stored.bytes, stored.version), (&commit.bytes, commit.id)),
                Ok(None) | Err(_) => found += 1,
            }
        }
    }
    assert!(found > 10, "{found} damages found");
}
