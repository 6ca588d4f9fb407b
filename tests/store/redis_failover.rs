//! A primary that dies: the store finds the one that took over, by itself, and what had reached that
//! one still holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use token_authority::authority::ports::{Commit, Outcome, Store, StoreError};
use token_authority::store::redis::{OpenError, RedisStore, Safety, Topology};
use token_authority::system::SystemClock;

use super::fixtures::{Follower, NOON, SeededEntropy, TurnedClock, fresh_key, open_redis, position, revoking};
use super::history::{clients, conclude, under_load};
use super::redis_faults::world::World;
use super::redis_fleet::RedisFleet;

const FAILOVER_WITHIN: Duration = Duration::from_secs(20);

/// The same commit, until somebody takes it.
async fn insist(store: &RedisStore, commit: &Commit) {
    let mut last = None;
    let sent = async {
        loop {
            match store.commit(commit).await {
                Ok(Outcome::Committed(_)) => return,
                Err(error @ (StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_))) => last = Some(error),
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let taken = tokio::time::timeout(FAILOVER_WITHIN, sent).await;
    assert!(taken.is_ok(), "no new primary in time: {last:?}");
}

async fn survives(mut fleet: RedisFleet, topology: Topology) {
    let store = open_redis(topology, &fleet.url("t"), &TurnedClock::at(NOON)).await;
    let mut follower = Follower::of(&store).await;
    let before = revoking(&fresh_key(), None, b"before");
    let written = position(store.commit(&before).await);
    follower.reach(written).await;
    let owner = fleet.owner(&format!("t:{{{}}}:head", written.partition));
    fleet.replicated(owner).await;
    fleet.servers[owner].kill9();

    // In the same partition.
    let after = revoking(&before.key, Some(before.id), b"after");
    insist(&store, &after).await;
    let reached = position(store.commit(&after).await);
    follower.reach(reached).await;
    assert!(follower.known.contains(&after.revocations[0]));
    let stored = store.load(&after.key).await.expect("an answer").expect("a record");
    assert_eq!((stored.version, &stored.bytes), (after.id, &after.bytes));
    let known = Follower::of(&store).await.known;
    assert!([before, after].iter().all(|commit| known.contains(&commit.revocations[0])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_hands_over_to_a_replica() {
    survives(RedisFleet::sentinel().await, Topology::Sentinel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_hands_over_to_a_replica() {
    survives(RedisFleet::cluster().await, Topology::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_under_load_lose_nothing() {
    let fleet = RedisFleet::cluster().await;
    let store = open_redis(Topology::Cluster, &fleet.url("t"), &TurnedClock::at(NOON)).await;
    let moved = AtomicBool::new(false);
    let writers = join_all((0..8).map(|_| async {
        let mut done = Vec::new();
        while !moved.load(Ordering::Relaxed) {
            let first = revoking(&fresh_key(), None, b"first");
            insist(&store, &first).await;
            let second = revoking(&first.key, Some(first.id), b"second");
            insist(&store, &second).await;
            done.extend([first, second]);
        }
        done
    }));
    let world = World::on(&fleet.url("authority"), 1).await;
    let mut done = Vec::new();
    let mut clients = under_load(clients(4, &world.channels), async |_| {
        let move_slots = async {
            fleet.move_slots().await;
            moved.store(true, Ordering::Relaxed);
        };
        done = join(writers, move_slots).await.0;
    })
    .await;
    conclude("slots that moved", &mut clients).await;
    let done: Vec<_> = done.into_iter().flatten().collect();
    let known = Follower::of(&store).await.known;
    for pair in done.chunks(2) {
        let stored = store.load(&pair[1].key).await.expect("an answer").expect("a record");
        assert_eq!((stored.version, stored.bytes.as_slice()), (pair[1].id, b"second".as_slice()));
        assert!(pair.iter().all(|commit| known.contains(&commit.revocations[0])));
    }
    println!("{} commits while slots moved, none lost", done.len());
    assert!(done.len() > 100);
}

#[tokio::test]
async fn each_primary_of_a_cluster_is_checked() {
    let fleet = RedisFleet::cluster().await;
    let unsafe_one = fleet.owner("t:{77}:head");
    fleet.servers[unsafe_one].run(&["CONFIG", "SET", "appendonly", "no"]);
    let entropy = SeededEntropy::named("checks");
    let (url, clock) = (fleet.url("t"), Arc::new(SystemClock::default()));
    let opened = RedisStore::open(Topology::Cluster, &url, Safety::Required, clock, entropy).await;
    let Err(OpenError::Unsafe(problems)) = opened else { panic!("not refused") };
    let port = format!(":{}: appendonly", fleet.servers[unsafe_one].port());
    assert!(matches!(problems.as_slice(), [one] if one.contains(&port)), "{problems:?}");
}
