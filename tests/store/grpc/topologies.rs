//! The whole suite of the gRPC edge on each topology of Redis: this program once more, all its tests on
//! one fleet, each under a prefix of its own.

use std::process::{Command, Output};

use crate::backend::SHARED_STORE;
use crate::redis_fleet::RedisFleet;
use crate::redis_server::RedisServer;

/// The modules that go over the wire and take any backend.
const SUITE: [&str; 7] =
    ["devices::", "edges::", "policy::", "session_service::", "token_profile::", "token_service::", "two_servers::"];
/// Far below what there is: fewer means that the names above lead nowhere.
const FEWEST: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinels() {
    run_all(&RedisFleet::sentinel().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster() {
    run_all(&RedisFleet::cluster().await).await;
}

async fn run_all(fleet: &RedisFleet) {
    let listed = this_program(&["--list", "--format", "terse"], "unused").await;
    let listed = String::from_utf8_lossy(&listed.stdout).lines().filter(|line| line.ends_with(": test")).count();
    assert!(listed >= FEWEST, "{listed} tests");
    let ran = this_program(&["--test-threads", "4"], &fleet.url("")).await;
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(told.contains(&format!("{listed} passed; 0 failed; 0 ignored")), "{told}");
    // Each of them had a store there.
    let layouts = fleet.servers.iter().flat_map(RedisServer::keys).filter(|key| key.ends_with(b":{0}:layout"));
    let stores: std::collections::HashSet<_> = layouts.collect();
    assert!(stores.len() >= FEWEST, "{} stores", stores.len());
    println!("{listed} tests, {} stores", stores.len());
}

async fn this_program(arguments: &[&str], store: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(SUITE).args(arguments).env(SHARED_STORE, store);
    tokio::task::spawn_blocking(move || command.output()).await.expect("ran").expect("it can be started")
}
