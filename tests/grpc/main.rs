//! The edges as callers see them: gRPC and HTTP in this process, and the real binary as another.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod activity;
mod backend;
mod certificates;
mod cli;
mod collector;
mod crash;
mod devices;
mod edges;
mod foreign_clients;
mod foreign_services;
mod history;
mod key_service;
mod leaks;
mod policy;
mod rate_limits;
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
