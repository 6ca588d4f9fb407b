//! The HTTP edge as its callers see it: over a socket, with clients that the realm knows.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

#[path = "../grpc/backend.rs"]
mod backend;
mod browser_session;
mod client_libraries;
mod clients;
mod discovery;
mod gateway;
mod gateways;
mod introspection;
mod leaks;
mod messages;
mod metrics;
mod plain_tokens;
mod real_browser;
mod real_gateways;
mod realm;
mod revocation;
#[path = "../grpc/test_server.rs"]
#[allow(dead_code, reason = "not every service is called from here")]
mod test_server;
mod token_endpoint;
mod wire;
