//! Replicas that have to acknowledge what is committed: what is answered has reached them, and what has
//! not is an outcome that nobody knows, however often it is asked for.

use std::time::Duration;

use futures::future::join;
use tempfile::TempDir;
use token_authority::authority::ports::{Commit, Outcome, Store, StoreError};
use token_authority::store::redis::{RedisStore, Topology};

use super::fixtures::{Follower, NOON, TurnedClock, commit, fresh_key, open_redis, position, revoking};
use super::redis_fleet::{field, until};
use super::redis_proxy::RedisProxy;
use super::redis_server::{RedisServer, Reply};
use crate::server_process::ServerProcess;

/// A primary, and a replica that hears of it through a proxy.
pub(crate) struct Pair {
    pub(crate) primary: RedisServer,
    pub(crate) replica: RedisServer,
    pub(crate) replication: RedisProxy,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let primary = RedisServer::start_with(&["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]).await;
        let replication = RedisProxy::to(primary.port()).await;
        let port = replication.port().to_string();
        let replica = RedisServer::start_with(&["--appendonly", "yes", "--replicaof", "127.0.0.1", &port]).await;
        let pair = Self { primary, replica, replication };
        pair.linked().await;
        pair
    }

    /// Waits until the replica has all that the primary has.
    pub(crate) async fn linked(&self) {
        until(|| {
            let (primary, replica) =
                (self.primary.run(&["INFO", "replication"]), self.replica.run(&["INFO", "replication"]));
            field(&replica, "master_link_status") == "up"
                && field(&replica, "master_repl_offset") == field(&primary, "master_repl_offset")
        })
        .await;
    }

    /// The network between them is as it was.
    pub(crate) async fn mend(&self) {
        self.replication.hand_over(self.primary.port());
        self.linked().await;
    }
}

async fn open(pair: &Pair, parameters: &str) -> RedisStore {
    let url = format!("{}&{parameters}", pair.primary.url("t"));
    open_redis(Topology::Standalone, &url, &TurnedClock::at(NOON)).await
}

fn entries(server: &RedisServer, commit: &Commit) -> Reply {
    server.run(&["ZCARD", &format!("t:{{{}}}:log", commit.key.id()[0])])
}

/// How often anything was set.
fn writes(server: &RedisServer) -> u64 {
    let calls = field(&server.run(&["INFO", "commandstats"]), "cmdstat_set");
    let calls = calls.strip_prefix("calls=").and_then(|calls| calls.split(',').next()?.parse().ok());
    calls.unwrap_or_default()
}

pub(crate) fn unknown<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::OutcomeUnknown(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_is_answered_once_the_replica_has_it() {
    let pair = Pair::start().await;
    let store = open(&pair, "wait_replicas=1").await;
    let revocation = revoking(&fresh_key(), None, b"");
    pair.replica.pause();
    let answer = store.commit(&revocation);
    tokio::pin!(answer);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut answer).await.is_err(), "answered too early");
    pair.replica.resume();
    let written = position(answer.await);
    let head = pair.replica.run(&["GET", &format!("t:{{{}}}:head", written.partition)]);
    assert_eq!(head, Reply::Bytes(Some(format!("{} {}", written.number, written.tag).into_bytes())));
    assert_eq!(store.proof(&revocation.key).await.expect("acknowledged").positions(), [written]);
    let first = revoking(&fresh_key(), None, b"");
    store.commit(&first).await.expect("acknowledged");
    assert_eq!(store.commit(&revoking(&first.key, None, b"")).await.expect("an answer"), Outcome::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_replica_nobody_knows_until_it_is_back() {
    let pair = Pair::start().await;
    let store = open(&pair, "wait_replicas=1").await;
    pair.replication.withhold();
    let revocation = revoking(&fresh_key(), None, b"ended");
    for _ in 0..2 {
        let before = writes(&pair.primary);
        assert!(unknown(&store.commit(&revocation).await));
        let committed = writes(&pair.primary);
        assert!(unknown(&store.proof(&revocation.key).await));
        // WAIT answers for what its own connection wrote: each try has to write.
        assert!(before < committed && committed < writes(&pair.primary));
        pair.primary.run(&["CLIENT", "KILL", "TYPE", "normal"]);
        until_connected(&store).await;
    }
    assert!(matches!(store.commit(&commit(&fresh_key(), None, b"")).await, Ok(Outcome::Committed(_))));
    assert_eq!(
        (entries(&pair.primary, &revocation), entries(&pair.replica, &revocation)),
        (Reply::Integer(1), Reply::Integer(0))
    );
    pair.mend().await;
    let written = position(store.commit(&revocation).await);
    assert_eq!(
        (entries(&pair.primary, &revocation), entries(&pair.replica, &revocation)),
        (Reply::Integer(1), Reply::Integer(1))
    );
    assert_eq!(store.proof(&revocation.key).await.expect("acknowledged").positions(), [written]);
    assert!(Follower::of(&store).await.known.contains(&revocation.revocations[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_while_it_waits_leaves_the_outcome_unknown() {
    let pair = Pair::start().await;
    let store = open(&pair, "wait_replicas=1").await;
    pair.replication.withhold();
    let revocation = revoking(&fresh_key(), None, b"ended");
    let answer = store.commit(&revocation);
    let cut = async {
        until(|| entries(&pair.primary, &revocation) == Reply::Integer(1)).await;
        // A WAIT sent again on a new connection would have nothing to wait for.
        pair.primary.run(&["CLIENT", "KILL", "TYPE", "normal"]);
    };
    assert!(unknown(&join(answer, cut).await.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_changes_wait_where_the_url_says_so() {
    let pair = Pair::start().await;
    let store = open(&pair, "wait_replicas=1&wait_for=changes").await;
    let change = commit(&fresh_key(), None, b"before");
    assert!(matches!(store.commit(&change).await, Ok(Outcome::Committed(_))));
    pair.replication.withhold();
    assert!(unknown(&store.commit(&commit(&change.key, Some(change.id), b"after")).await));
    assert!(matches!(store.load(&change.key).await, Ok(Some(_))), "reads wait for nobody");
}

async fn until_connected(store: &RedisStore) {
    let connected = async {
        while store.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), connected).await.expect("connected again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_for_replicas_that_are_not_there_says_so() {
    let (pair, directory) = (Pair::start().await, TempDir::new().expect("a directory"));
    let key = directory.path().join("kek").display().to_string();
    let warnings = |parameters: &str| {
        let url = format!("{}&{parameters}", pair.primary.url("t"));
        let server = ServerProcess::start_in(directory.path(), &["--store", &url, "--key-file", &key, "--dev"]);
        server.stderr_lines().into_iter().filter(|line| line.contains("too few replicas")).collect::<Vec<_>>()
    };
    let of = |parameters| tokio::task::block_in_place(|| warnings(parameters));
    assert_eq!(of("wait_replicas=1"), Vec::<String>::new());
    let said = of("wait_replicas=2");
    let [said] = said.as_slice() else { panic!("one line: {said:?}") };
    for part in ["WARN", "connected=1", "wait_replicas=2", "revocations are answered OUTCOME_UNKNOWN"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
