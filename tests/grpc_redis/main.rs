//! The tests of the gRPC edge once more, each server on a Redis: what callers see does not depend on
//! the store.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod backend;
#[path = "../grpc/edges.rs"]
mod edges;
mod key_file;
#[path = "../grpc/policy.rs"]
mod policy;
#[path = "../store/redis_server.rs"]
mod redis_server;
#[path = "../grpc/server_process.rs"]
mod server_process;
#[path = "../grpc/session_service.rs"]
mod session_service;
#[path = "../grpc/test_server.rs"]
mod test_server;
#[path = "../grpc/token_service.rs"]
mod token_service;
mod two_servers;
