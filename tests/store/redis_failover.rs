//! A primary that dies: the store finds the one that took over, by itself, and what had reached that
//! one still holds.

use std::time::Duration;

use token_authority::authority::ports::{Commit, Outcome, Store, StoreError};
use token_authority::store::redis::{RedisStore, Topology};

use super::fixtures::{Follower, NOON, TurnedClock, fresh_key, open_redis, position, revoking};
use super::redis_fleet::RedisFleet;

const FAILOVER_WITHIN: Duration = Duration::from_secs(60);

/// The same commit, until somebody takes it.
async fn insist(store: &RedisStore, commit: &Commit) {
    let sent = async {
        loop {
            match store.commit(commit).await {
                Ok(Outcome::Committed(_)) => return,
                Err(StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_)) => {}
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(FAILOVER_WITHIN, sent).await.expect("a new primary in time");
}

async fn survives(mut fleet: RedisFleet, topology: Topology) {
    let store = open_redis(topology, &fleet.url("t"), &TurnedClock::at(NOON)).await;
    let mut follower = Follower::of(&store).await;
    let before = revoking(&fresh_key(), None, b"before");
    let written = position(store.commit(&before).await);
    follower.reach(written).await;
    fleet.replicated(&format!("t:{{{}}}:head", written.partition)).await;
    fleet.servers[0].kill9();

    let after = revoking(&fresh_key(), None, b"after");
    insist(&store, &after).await;
    let reached = position(store.commit(&after).await);
    follower.reach(reached).await;
    assert!(follower.known.contains(&after.revocations[0]));
    for commit in [&before, &after] {
        let stored = store.load(&commit.key).await.expect("an answer").expect("a record");
        assert_eq!((stored.version, &stored.bytes), (commit.id, &commit.bytes));
    }
    let known = Follower::of(&store).await.known;
    assert!([before, after].iter().all(|commit| known.contains(&commit.revocations[0])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_hands_over_to_a_replica() {
    survives(RedisFleet::sentinel().await, Topology::Sentinel).await;
}
