//! The edges as callers see them: gRPC and HTTP in this process, and the real binary as another.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod activity;
mod audit;
mod backend;
mod certificates;
mod cli;
mod code_receiver;
mod collector;
mod crash;
mod devices;
mod edges;
mod foreign_clients;
mod foreign_services;
mod history;
mod key_service;
mod leaks;
mod one_time_codes;
mod policy;
mod rate_limits;
mod raw_call;
mod realm_reload;
mod revocation_feed;
mod revocation_receipts;
mod sdk;
mod server_process;
mod session_service;
mod shutdown;
mod test_server;
mod tls;
mod token_profile;
mod token_service;
mod traces;
mod watch_sessions;
#[path = "../http/wire.rs"]
#[allow(dead_code, reason = "a vocabulary that other tests use more of")]
mod wire;
