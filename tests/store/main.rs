//! The stores: one conformance suite that runs on each, and what only one of them has to prove.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod conformance;
mod copying;
mod disk;
mod embedded;
mod fixtures;
mod key_file;
mod lock;
mod operator;
mod power_cut;
mod redis;
mod redis_access;
mod redis_clock;
mod redis_connections;
mod redis_failover;
mod redis_faults;
mod redis_fleet;
mod redis_monitor;
mod redis_proxy;
mod redis_replicas;
mod redis_server;
mod redis_turns;
mod restoring;
mod sdk_faults;
mod sealed;

// The tests of the gRPC edge once more, each server on a Redis (`topologies`: of each kind): what callers see does not depend on
// the store.
#[path = "../grpc/activity.rs"]
mod activity;
#[path = "grpc/backend.rs"]
mod backend;
#[path = "../grpc/code_receiver.rs"]
mod code_receiver;
#[path = "../grpc/devices.rs"]
mod devices;
#[path = "../grpc/edges.rs"]
mod edges;
#[path = "grpc/key_file.rs"]
mod grpc_key_file;
#[path = "../grpc/history.rs"]
mod history;
#[path = "../grpc/key_service.rs"]
mod key_service;
#[path = "../grpc/one_time_codes.rs"]
mod one_time_codes;
#[path = "../grpc/policy.rs"]
mod policy;
#[path = "../grpc/rate_limits.rs"]
mod rate_limits;
#[path = "grpc/receipts.rs"]
mod receipts;
#[path = "../grpc/server_process.rs"]
mod server_process;
#[path = "../grpc/session_service.rs"]
mod session_service;
#[path = "grpc/staleness.rs"]
mod staleness;
#[path = "../grpc/test_server.rs"]
mod test_server;
#[path = "../grpc/token_profile.rs"]
mod token_profile;
#[path = "../grpc/token_service.rs"]
mod token_service;
#[path = "grpc/topologies.rs"]
mod topologies;
#[path = "grpc/two_servers.rs"]
mod two_servers;
#[path = "../grpc/watch_sessions.rs"]
mod watch_sessions;

use fixtures::Bench;

/// Every backend stands here and runs every case. A backend that can't be reached fails: there is no
/// way to skip it, and a run that left out a case fails too.
macro_rules! suite {
    ($($backend:ident => $open:expr),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $backend() {
            conformance::run(stringify!($backend), &$open.await).await;
        }
    )+};
}

mod suite {
    use super::{Bench, conformance};

    suite! {
        embedded => Bench::embedded(),
        embedded_sealed => async { Bench::embedded().await.sealed().await },
        redis => Bench::redis(),
        redis_cluster => Bench::redis_cluster(),
        redis_sentinel => Bench::redis_sentinel(),
        redis_sealed => async { Bench::redis().await.sealed().await },
    }
}
