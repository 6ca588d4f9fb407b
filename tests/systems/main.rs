//! Five systems as realm files: each boots a server with its file from `deploy/realms`, and each row of
//! what it needs is shown through the public API, on the embedded store and on Redis.
//!
//! `cargo test --test systems a1_` runs one row; at the end stands a table of what was shown.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod audit_log;
mod backend;
mod boot;
mod claims;
mod gateway;
mod guard_rails;
mod kept;
mod monitored;
mod protected;
mod realm_files;
#[path = "../store/redis_server.rs"]
mod redis_server;
mod report;
mod rows;
mod single_use_refresh;
#[path = "../grpc/test_server.rs"]
mod test_server;
mod trusted_devices;
mod web_mobile;
#[path = "../http/wire.rs"]
#[allow(dead_code, reason = "not every kind of request is made here")]
mod wire;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use report::Report;
use rows::{Stage, System};

const SYSTEMS: [System; 5] =
    [web_mobile::SYSTEM, trusted_devices::SYSTEM, monitored::SYSTEM, single_use_refresh::SYSTEM, guard_rails::SYSTEM];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    audit_log::keep();
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let report = Arc::new(Report::default());
    let mut trials = vec![
        Trial::test("each_row_has_its_test", || Ok(report::check_complete(&SYSTEMS)?)),
        Trial::test("check_config_accepts_the_realm_files", || Ok(realm_files::check()?)),
    ];
    let stages = SYSTEMS.map(|system| Stage::of(system, runtime.clone(), report.clone()));
    trials.extend(rows::in_turn(stages.map(Stage::trials)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    print!("{}", report.table(&SYSTEMS));
    conclusion.exit_code()
}
