//! Commits that leave together: how many scripts they take, and that none decides what becomes of another.

use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt as _, join};
use token_authority::authority::ports::{Outcome, RecordKey, Store as _, StoreError};
use token_authority::store::redis::{RedisStore, Topology};

use super::fixtures::{Follower, NOON, TurnedClock, commit, fresh_key, open_redis, position, realm, revoking};
use super::redis_connections::connections;
use super::redis_fleet::{RedisFleet, field, until};
use super::redis_proxy::RedisProxy;
use super::redis_replicas::{self, Pair};
use super::redis_server::{RedisServer, Reply};

/// How often Redis was given this command.
fn calls(redis: &RedisServer, command: &str) -> u32 {
    let calls = field(&redis.run(&["INFO", "commandstats"]), &format!("cmdstat_{command}"));
    let calls = calls.strip_prefix("calls=").and_then(|calls| calls.split(',').next()?.parse().ok());
    calls.unwrap_or_default()
}

/// What Redis names a record.
fn name(redis: &RedisServer, before: &[Vec<u8>]) -> String {
    let new: Vec<_> = redis.keys().into_iter().filter(|key| !before.contains(key)).collect();
    let [name] = &new[..] else { panic!("one new key: {new:?}") };
    String::from_utf8(name.clone()).expect("a readable key")
}

async fn committed(store: &RedisStore, redis: &RedisServer, content: &[u8]) -> (RecordKey, String) {
    let before = redis.keys();
    let commit = commit(&fresh_key(), None, content);
    position(store.commit(&commit).await);
    (commit.key, name(redis, &before))
}

fn unavailable_or_unknown<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)))
}

#[tokio::test]
async fn what_comes_in_one_turn_leaves_as_few_scripts() {
    let redis = RedisServer::start().await;
    let store = open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await;
    let mut follower = Follower::of(&store).await;
    position(store.commit(&commit(&fresh_key(), None, b"so that Redis knows the script")).await);
    for (count, scripts) in [(1, 1), (8, 1), (20, 3)] {
        let commits: Vec<_> = (0..count).map(|_| revoking(&fresh_key(), None, b"kept")).collect();
        let before = calls(&redis, "evalsha");
        let outcomes = join_all(commits.iter().map(|commit| store.commit(commit))).await;
        assert_eq!(calls(&redis, "evalsha") - before, scripts, "{count} commits");
        for (commit, outcome) in commits.iter().zip(outcomes) {
            let position = position(outcome);
            assert_eq!(position.partition, store.partition(&commit.key), "another's answer");
            follower.reach(position).await;
        }
        for commit in commits {
            let stored = store.load(&commit.key).await.expect("an answer").expect("a record");
            assert_eq!((stored.version, stored.bytes), (commit.id, commit.bytes));
            assert!(follower.known.contains(&commit.revocations[0]));
        }
    }
}

#[tokio::test]
async fn each_has_its_own_answer() {
    let redis = RedisServer::start().await;
    let store = open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await;
    let (of_other_type, other_name) = committed(&store, &redis, b"replaced").await;
    redis.run(&["DEL", &other_name]);
    redis.run(&["RPUSH", &other_name, "no", "record"]);
    let (cut, cut_name) = committed(&store, &redis, b"cut").await;
    redis.run(&["SET", &cut_name, "short"]);
    let done = revoking(&fresh_key(), None, b"done before");
    position(store.commit(&done).await);
    let contended = fresh_key();
    let commits = [
        revoking(&fresh_key(), None, b"first"),
        commit(&of_other_type, None, b""),
        revoking(&of_other_type, None, b""),
        commit(&cut, None, b""),
        commit(&contended, None, b"of two one"),
        commit(&contended, None, b"of two one"),
        done,
        revoking(&fresh_key(), Some(commit(&contended, None, b"").id), b"nothing there"),
        revoking(&fresh_key(), None, b"last"),
    ];
    let before = calls(&redis, "evalsha");
    let outcomes = join_all(commits.iter().map(|commit| store.commit(commit))).await;
    assert_eq!(calls(&redis, "evalsha") - before, 1);
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(Outcome::Committed(_)) => "committed",
            Ok(Outcome::Conflict) => "conflict",
            Err(StoreError::Corrupt(_)) => "corrupt",
            Err(error) => panic!("{error:?}"),
        })
        .collect();
    let expected =
        ["committed", "corrupt", "corrupt", "corrupt", "committed", "conflict", "committed", "conflict", "committed"];
    assert_eq!(told, expected);
    let known = Follower::of(&store).await.known;
    for (commit, told) in commits.iter().zip(told) {
        let entries = commit.revocations.iter();
        assert!(entries.clone().all(|entry| known.contains(entry) == (told == "committed")), "{told}");
    }
    assert_eq!(redis.run(&["LLEN", &other_name]), Reply::Integer(2));
    assert_eq!(redis.run(&["STRLEN", &cut_name]), Reply::Integer(5));
}

#[tokio::test]
async fn reads_of_one_turn_leave_as_one_and_one_alone_is_a_get() {
    let redis = RedisServer::start().await;
    let store = open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await;
    let (of_other_type, other_name) = committed(&store, &redis, b"replaced").await;
    redis.run(&["DEL", &other_name]);
    redis.run(&["RPUSH", &other_name, "no", "record"]);
    let (there, _) = committed(&store, &redis, b"there").await;
    let (cut, cut_name) = committed(&store, &redis, b"cut").await;
    redis.run(&["SET", &cut_name, "short"]);
    let keys = [&there, &fresh_key(), &of_other_type, &cut, &there];
    redis.run(&["SCRIPT", "FLUSH"]);
    for round in 0..2 {
        let before = (calls(&redis, "evalsha"), calls(&redis, "eval"));
        let found = join_all(keys.iter().map(|key| store.load(key))).await;
        // The first time the script is new to Redis, and comes as it is.
        assert_eq!((calls(&redis, "evalsha"), calls(&redis, "eval")), (before.0 + 1, before.1 + 1 - round));
        let told: Vec<_> = found
            .iter()
            .map(|found| match found {
                Ok(Some(stored)) => std::str::from_utf8(&stored.bytes).expect("text"),
                Ok(None) => "nothing",
                Err(StoreError::Corrupt(_)) => "corrupt",
                Err(error) => panic!("{error:?}"),
            })
            .collect();
        assert_eq!(told, ["there", "nothing", "corrupt", "corrupt", "there"]);
    }
    let before = calls(&redis, "evalsha");
    for key in keys {
        let _ = store.load(key).await;
    }
    assert_eq!(calls(&redis, "evalsha"), before);
}

#[tokio::test]
async fn full_memory_refuses_what_grows_and_not_the_revocations_beside_it() {
    let redis = RedisServer::start().await;
    let store = open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await;
    position(store.commit(&commit(&fresh_key(), None, b"before")).await);
    redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let (revocation, growth) = (revoking(&fresh_key(), None, b""), commit(&fresh_key(), None, b"more"));
    // In whatever order they come.
    for _ in 0..2 {
        let (revoked, grown) = join!(store.commit(&revocation), store.commit(&growth));
        position(revoked);
        assert!(matches!(grown, Err(StoreError::Full(_))), "{grown:?}");
        let (grown, revoked) = join!(store.commit(&growth), store.commit(&revocation));
        position(revoked);
        assert!(matches!(grown, Err(StoreError::Full(_))), "{grown:?}");
    }
    assert!(matches!(store.load(&growth.key).await, Ok(None)));
}

#[tokio::test]
async fn whoever_leaves_early_holds_nobody_back() {
    let redis = RedisServer::start().await;
    let store = open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await;
    let (left, stayed) = (commit(&fresh_key(), None, b"left"), commit(&fresh_key(), None, b"stayed"));
    assert!(store.commit(&left).now_or_never().is_none(), "the first of its turn");
    position(store.commit(&stayed).await);
    assert_eq!(store.load(&left.key).await.expect("an answer").expect("a record").version, left.id);
}

#[tokio::test]
async fn too_few_replicas_refuse_all_and_nothing_is_written() {
    let redis = RedisServer::start().await;
    let store = open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await;
    let before = redis.keys().len();
    redis.run(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let commits = [commit(&fresh_key(), None, b""), revoking(&fresh_key(), None, b""), commit(&fresh_key(), None, b"")];
    for outcome in join_all(commits.iter().map(|commit| store.commit(commit))).await {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(redis.keys().len(), before);
}

#[tokio::test]
async fn a_lost_answer_leaves_each_outcome_unknown_and_each_is_repeated_once() {
    let redis = RedisServer::start().await;
    let door = RedisProxy::to(redis.port()).await;
    let url = format!("redis://127.0.0.1:{}?prefix=t", door.port());
    let store = open_redis(Topology::Standalone, &url, &TurnedClock::at(NOON)).await;
    position(store.commit(&commit(&fresh_key(), None, b"so that Redis knows the script")).await);
    let commits: Vec<_> = (0..5).map(|_| revoking(&fresh_key(), None, b"once")).collect();
    door.cut_answers(1);
    let outcomes = join_all(commits.iter().map(|commit| store.commit(commit))).await;
    assert!(outcomes.iter().all(redis_replicas::unknown), "{outcomes:?}");
    for outcome in join_all(commits.iter().map(|commit| store.commit(commit))).await {
        position(outcome);
    }
    for commit in &commits {
        let log = format!("t:{{{}}}:log", store.partition(&commit.key));
        let entries = commits.iter().filter(|other| store.partition(&other.key) == store.partition(&commit.key));
        assert_eq!(redis.run(&["ZCARD", &log]), Reply::Integer(i64::try_from(entries.count()).expect("five")));
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_is_known_whatever_its_url_says() {
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--cluster-enabled", "yes"]).await;
    redis.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    until(|| field(&redis.run(&["CLUSTER", "INFO"]), "cluster_state") == "ok").await;
    let store = open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await;
    let commits: Vec<_> = (0..20).map(|_| revoking(&fresh_key(), None, b"kept")).collect();
    join_all(commits.iter().map(|commit| store.commit(commit)))
        .await
        .into_iter()
        .for_each(|outcome| _ = position(outcome));
    for found in join_all(commits.iter().map(|commit| store.load(&commit.key))).await {
        assert_eq!(*found.expect("an answer").expect("a record").bytes, *b"kept");
    }
}

#[tokio::test]
async fn of_a_slot_that_moves_each_is_read_from_where_it_is() {
    let fleet = RedisFleet::cluster().await;
    let store = open_redis(Topology::Cluster, &fleet.url("t"), &TurnedClock::at(NOON)).await;
    let here = fresh_key();
    position(store.commit(&commit(&here, None, b"here")).await);
    let partition = store.partition(&here);
    let Reply::Integer(slot) = fleet.servers[0].run(&["CLUSTER", "KEYSLOT", &format!("{{{partition}}}")]) else {
        panic!("no slot");
    };
    let owner = fleet.owner(&format!("t:{{{partition}}}:head"));
    let primary = |server: &&RedisServer| field(&server.run(&["INFO", "replication"]), "role") == "master";
    let other = fleet.servers.iter().filter(primary).find(|server| server.port() != fleet.servers[owner].port());
    let other = other.expect("another primary");
    let node = |server: &RedisServer| match server.run(&["CLUSTER", "MYID"]) {
        Reply::Bytes(Some(id)) => String::from_utf8(id).expect("hexadecimal"),
        reply => panic!("no id: {reply:?}"),
    };
    let slot = slot.to_string();
    other.run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &node(&fleet.servers[owner])]);
    fleet.servers[owner].run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &node(other)]);
    let gone = RecordKey::client_assertion(realm("web"), {
        let mut id = *here.id();
        id[15] ^= 1;
        id
    });
    let (found, missing) = join!(store.load(&here), store.load(&gone));
    assert_eq!(*found.expect("an answer").expect("a record").bytes, *b"here");
    assert!(matches!(missing, Err(StoreError::Unavailable(_))), "asked for at the other node: {missing:?}");
}

#[tokio::test]
async fn a_replica_refuses_all_and_is_looked_up_anew() {
    let pair = Pair::start().await;
    pair.replica.run(&["CONFIG", "SET", "replica-read-only", "no"]);
    let store = open_redis(Topology::Standalone, &pair.replica.url("t"), &TurnedClock::at(NOON)).await;
    pair.replica.run(&["CONFIG", "SET", "replica-read-only", "yes"]);
    let commits = [commit(&fresh_key(), None, b""), revoking(&fresh_key(), None, b"")];
    let before = connections(&pair.replica);
    for outcome in join_all(commits.iter().map(|commit| store.commit(commit))).await {
        assert!(matches!(&outcome, Err(StoreError::Unavailable(why)) if why.contains("READONLY")), "{outcome:?}");
    }
    until(|| connections(&pair.replica).keys().any(|connection| !before.contains_key(connection))).await;
    pair.replica.run(&["REPLICAOF", "NO", "ONE"]);
    let outcomes = async {
        loop {
            let outcomes = join_all(commits.iter().map(|commit| store.commit(commit))).await;
            if !outcomes.iter().any(unavailable_or_unknown) {
                return outcomes;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let outcomes = tokio::time::timeout(Duration::from_secs(20), outcomes).await.expect("connected again");
    outcomes.into_iter().for_each(|outcome| _ = position(outcome));
}

#[tokio::test]
async fn those_that_replicas_must_have_wait_once_for_all() {
    let pair = Pair::start().await;
    let url = format!("{}&wait_replicas=1&wait_for=changes", pair.primary.url("t"));
    let store = open_redis(Topology::Standalone, &url, &TurnedClock::at(NOON)).await;
    let first = commit(&fresh_key(), None, b"so that Redis knows the script");
    position(store.commit(&first).await);
    let mut commits: Vec<_> = (0..10).map(|_| commit(&fresh_key(), None, b"kept")).collect();
    commits.push(commit(&first.key, None, b"too late"));
    let before = calls(&pair.primary, "wait");
    let mut outcomes = join_all(commits.iter().map(|commit| store.commit(commit))).await;
    assert_eq!(calls(&pair.primary, "wait") - before, 1);
    assert_eq!(outcomes.pop().expect("the last").expect("an answer"), Outcome::Conflict);
    outcomes.into_iter().for_each(|outcome| _ = position(outcome));

    pair.replication.withhold();
    pair.primary.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = store.commit(&commit(&fresh_key(), None, b"more")).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "whatever WAIT says: {full:?}");
    pair.primary.run(&["CONFIG", "SET", "maxmemory", "0"]);
    let again = commits.iter().map(|done| commit(&done.key, Some(done.id), b"again")).collect::<Vec<_>>();
    let mut outcomes = join_all(again.iter().map(|commit| store.commit(commit))).await;
    assert_eq!(outcomes.pop().expect("the last").expect("nothing was written"), Outcome::Conflict);
    assert!(outcomes.iter().all(redis_replicas::unknown), "{outcomes:?}");
}

#[tokio::test]
async fn on_a_cluster_those_of_a_slot_leave_together() {
    let fleet = RedisFleet::cluster().await;
    let store = open_redis(Topology::Cluster, &fleet.url("t"), &TurnedClock::at(NOON)).await;
    let of_partition = |partition, last| {
        let mut id = [7; 16];
        (id[0], id[15]) = (partition, last);
        commit(&RecordKey::client_assertion(realm("web"), id), None, b"kept")
    };
    // So that each node knows the script.
    for outcome in
        join_all((0..=255).map(|partition| of_partition(partition, 0)).map(async |commit| store.commit(&commit).await))
            .await
    {
        position(outcome);
    }
    let scripts = || fleet.servers.iter().map(|server| calls(server, "evalsha")).sum::<u32>();
    let before = scripts();
    let commits: Vec<_> = (1..=6).map(|last| of_partition(100 * (last % 2), last)).collect();
    for outcome in join_all(commits.iter().map(|commit| store.commit(commit))).await {
        position(outcome);
    }
    assert_eq!(scripts() - before, 2, "of two partitions");
}
