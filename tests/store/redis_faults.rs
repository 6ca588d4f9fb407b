//! Redis under faults, seen from outside: servers of the authority on it, clients that remember what was
//! acknowledged, and something that breaks. What must hold in the end is in `history`.

use futures::future::join_all;
use token_authority::authority::ports::{Outcome, Store as _, StoreError};
use token_authority::proto::v1;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::store::redis::Topology;
use tonic::Code;
use tonic::transport::Channel;

use super::fixtures::{NOON, TurnedClock, fresh_key, open_redis, revoking};
use super::history::{Client, clients, conclude, is_cut_off, under_load};
use super::redis_fleet::{field, until};
use super::redis_proxy::RedisProxy;
use super::redis_replicas::Pair;
use super::redis_server::{RedisServer, Reply};
use super::server_process::ServerProcess;
use super::test_server::refusal;
use world::World;

pub(crate) mod world;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_loses_nothing_acknowledged() {
    let mut redis = RedisServer::start().await;
    let world = World::on(&redis.url("t"), 2).await;
    let mut clients = under_load(clients(6, &world.channels), async |progress| {
        for _ in 0..2 {
            progress.further(150).await;
            redis.kill9();
            redis.restart().await;
        }
        progress.further(150).await;
        redis.kill9();
        // Long enough for an outage to be told.
        progress.cut_off(6).await;
        redis.restart().await;
        progress.further(150).await;
    })
    .await;
    conclude("3 kills of Redis", &mut clients).await;
}

/// A primary and its replica behind one address, which is handed over by the test.
struct Failover {
    pair: Pair,
    door: RedisProxy,
}

impl Failover {
    async fn ready() -> Self {
        let pair = Pair::start().await;
        let door = RedisProxy::to(pair.primary.port()).await;
        Self { pair, door }
    }

    fn url(&self, parameters: &str) -> String {
        format!("redis://127.0.0.1:{}?prefix=t{parameters}", self.door.port())
    }

    /// The primary dies, the replica takes over with what it has.
    fn happen(&mut self) {
        self.pair.primary.kill9();
        self.pair.replica.run(&["REPLICAOF", "NO", "ONE"]);
        self.door.hand_over(self.pair.replica.port());
    }
}

fn logs(server: &RedisServer) -> usize {
    server.keys().iter().filter(|key| key.ends_with(b":log")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_loses_revocations_undoes_none() {
    let mut failover = Failover::ready().await;
    let mut world = World::on(&failover.url(""), 2).await;
    let mut clients = clients(6, &world.channels);
    join_all(clients.iter_mut().map(|client| client.log_in(8))).await;
    failover.pair.linked().await;

    // Acknowledged, and never to reach the replica.
    failover.pair.replication.withhold();
    let refreshed: usize = join_all(clients.iter_mut().map(Client::refresh_half)).await.into_iter().sum();
    let ended: Vec<_> = join_all(clients.iter_mut().map(Client::end_the_others)).await.concat();
    assert!(refreshed == 24 && ended.len() == 24 && ended.iter().all(Result::is_ok), "{ended:?}");
    assert!(logs(&failover.pair.primary) > 0 && logs(&failover.pair.replica) == 0, "nothing was lost");
    failover.happen();
    world.is_available().await;
    // Waits for what is put back; presents no refresh token, which would end its session by itself.
    join_all(clients.iter_mut().map(Client::check_revocations)).await;

    // The records say so without the log, to a server that has never heard of it.
    let copy = replica_of(&failover.pair.replica).await;
    copy.run(&["REPLICAOF", "NO", "ONE"]);
    for key in copy.keys().iter().filter(|key| key.ends_with(b":log")) {
        copy.run(&["DEL", std::str::from_utf8(key).expect("a readable key")]);
    }
    world.add(&copy.url("t")).await;
    let mut refused = 0;
    for client in &mut clients {
        client.reconnect(&world.channels[2..]);
        refused += client.refused().await;
        client.reconnect(&world.channels[..2]);
    }
    assert_eq!(refused, 24);

    // Each of the other refresh tokens is ahead of its record.
    conclude("a failover that lost 24 refreshes and 24 revocations", &mut clients).await;
}

/// Another server with the same data, by now.
async fn replica_of(primary: &RedisServer) -> RedisServer {
    let port = primary.port().to_string();
    let replica = RedisServer::start_with(&["--appendonly", "yes", "--replicaof", "127.0.0.1", &port]).await;
    until(|| field(&replica.run(&["INFO", "replication"]), "master_link_status") == "up").await;
    replica
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_replicas_awaited_nothing_is_acknowledged_that_a_failover_can_lose() {
    let mut failover = Failover::ready().await;
    let world = World::on(&failover.url("&wait_replicas=1"), 2).await;
    let mut clients = clients(4, &world.channels);
    join_all(clients.iter_mut().map(|client| client.log_in(2))).await;
    failover.pair.replication.withhold();
    join_all(clients.iter_mut().map(Client::refresh_half)).await;
    // Once more, maybe at the other server, which finds it done.
    for _ in 0..2 {
        for answer in join_all(clients.iter_mut().map(Client::end_the_others)).await.concat() {
            let status = answer.expect_err("no replica has it");
            assert_eq!(refusal(&status), (Code::Unavailable, "OUTCOME_UNKNOWN".to_owned()));
        }
    }
    failover.pair.mend().await;
    let answers = join_all(clients.iter_mut().map(Client::end_the_others)).await.concat();
    assert!(answers.len() == 4 && answers.iter().all(Result::is_ok), "{answers:?}");
    failover.happen();
    // Without a replica of its own it would acknowledge no revocation.
    let _replica = replica_of(&failover.pair.replica).await;
    world.is_available().await;
    conclude("a failover with replicas awaited", &mut clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_and_not_answered_is_sent_again_by_the_caller_alone() {
    let redis = RedisServer::start().await;
    let door = RedisProxy::to(redis.port()).await;
    let url = format!("redis://127.0.0.1:{}?prefix=t", door.port());
    let store = open_redis(Topology::Standalone, &url, &TurnedClock::at(NOON)).await;
    let commit = revoking(&fresh_key(), None, b"once");
    store.commit(&revoking(&fresh_key(), None, b"the script is known")).await.expect("an outcome");
    door.cut_answers(1);
    // Not by the driver, which would take a conflict with itself for one with somebody else.
    let outcome = store.commit(&commit).await;
    assert!(matches!(outcome, Err(StoreError::OutcomeUnknown(_))), "{outcome:?}");
    assert!(matches!(store.commit(&commit).await, Ok(Outcome::Committed(_))));
    let log = format!("t:{{{}}}:log", commit.key.id()[0]);
    assert_eq!(redis.run(&["ZCARD", &log]), Reply::Integer(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_before_the_answer_takes_no_step_twice() {
    const CUTS: usize = 10;
    let redis = RedisServer::start().await;
    let door = RedisProxy::to(redis.port()).await;
    let world = World::on(&format!("redis://127.0.0.1:{}?prefix=t", door.port()), 1).await;
    let mut clients = clients(1, &world.channels);
    clients[0].log_in(1).await;
    let before = generation(&world.channels[0], "subject-0").await;
    for _ in 0..CUTS {
        door.cut_answers(1);
        clients[0].refresh_half().await;
        assert_eq!(door.cuts_left(), 0, "the answer was not cut off");
    }
    assert_eq!(generation(&world.channels[0], "subject-0").await, before + CUTS as i64);
    let mut clients = under_load(clients, async |progress| {
        for _ in 0..5 {
            door.cut_answers(1);
            progress.further(20).await;
        }
    })
    .await;
    conclude("15 connections cut before the answer", &mut clients).await;
}

async fn generation(server: &Channel, subject: &str) -> i64 {
    let request = v1::ListSessionsRequest { subject: subject.to_owned(), ..Default::default() };
    let answer = SessionServiceClient::new(server.clone()).list_sessions(request).await.expect("lists");
    answer.into_inner().sessions[0].generation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_is_an_outage_and_no_more() {
    let redis = RedisServer::start().await;
    let world = World::on(&redis.url("t"), 2).await;
    let mut onlooker = clients(7, &world.channels).pop().expect("a client");
    onlooker.log_in(4).await;
    onlooker.refresh_half().await;
    assert!(onlooker.end_the_others().await.iter().all(Result::is_ok));
    let mut clients = under_load(clients(6, &world.channels), async |progress| {
        progress.further(100).await;
        redis.pause();
        // Each after the time that a command may take.
        progress.cut_off(6).await;
        onlooker.check_from_memory().await;
        redis.resume();
        progress.further(100).await;
    })
    .await;
    clients.push(onlooker);
    conclude("a Redis that stood still", &mut clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_growth_and_still_revokes() {
    let redis = RedisServer::start().await;
    let world = World::on(&redis.url("t"), 2).await;
    let mut tokens = TokenServiceClient::new(world.channels[0].clone());
    let mut sessions = SessionServiceClient::new(world.channels[1].clone());
    let login = v1::IssueTokenRequest { subject: "somebody".to_owned(), ..Default::default() };
    let pair = tokens.issue_token(login.clone()).await.expect("issues").into_inner().tokens.expect("tokens");
    let refresh = v1::RefreshTokenRequest { refresh_token: pair.refresh_token, ..Default::default() };
    let introspect = v1::IntrospectTokenRequest { token: pair.access_token, ..Default::default() };
    let list = v1::ListSessionsRequest { subject: login.subject.clone(), ..Default::default() };
    let mut clients = under_load(clients(6, &world.channels), async |progress| {
        progress.further(100).await;
        redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
        let full = (Code::ResourceExhausted, "OVERLOADED".to_owned());
        assert_eq!(refusal(&tokens.issue_token(login.clone()).await.expect_err("full")), full);
        assert_eq!(refusal(&tokens.refresh_token(refresh.clone()).await.expect_err("full")), full);
        assert!(tokens.introspect_token(introspect.clone()).await.expect("answers").into_inner().active);
        assert_eq!(sessions.list_sessions(list).await.expect("lists").into_inner().sessions.len(), 1);
        tokens.refresh_token(refresh.clone()).await.expect_err("still full");
        let end = v1::RevokeTokenRequest { token: refresh.refresh_token.clone(), ..Default::default() };
        tokens.revoke_token(end).await.expect("revokes");
        assert!(!tokens.introspect_token(introspect).await.expect("answers").into_inner().active);
        progress.cut_off(20).await;
        redis.run(&["CONFIG", "SET", "maxmemory", "0"]);
        progress.further(100).await;
        let ended = tokens.refresh_token(refresh).await.expect_err("ended");
        assert!(!is_cut_off(&ended), "{ended:?}");
    })
    .await;
    conclude("a full Redis", &mut clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_redis_are_one_authority() {
    let (redis, directory) = (RedisServer::start().await, tempfile::TempDir::new().expect("a directory"));
    let config = directory.path().join("config.toml");
    let realm = "[realm]\nname = \"default\"\nreuse_leeway = \"60s\"\nalgorithm = \"ES256\"\n";
    std::fs::write(&config, realm).expect("writes");
    let (url, key, config) = (redis.url("ta"), directory.path().join("kek"), config.display().to_string());
    let key = key.display().to_string();
    let arguments = ["--config", &config, "--store", &url, "--key-file", &key, "--dev"];
    let arguments = [&arguments[..], &["--public-url", "http://127.0.0.1"]].concat();
    let servers = [(); 2].map(|()| ServerProcess::start_in(directory.path(), &arguments));
    let channel = async |server: &ServerProcess| {
        Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects")
    };
    let channels = join_all(servers.iter().map(channel)).await;
    let mut clients = under_load(clients(6, &channels), async |progress| progress.further(600).await).await;
    let counts = conclude("two processes on one Redis", &mut clients).await;
    assert_eq!(counts.cut_off, 0);
}
