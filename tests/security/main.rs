//! Attacks and faults, one file a family, and the test vectors of others. All through the public API.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod attack_table;
mod caller_matrix;
#[path = "../grpc/certificates.rs"]
#[allow(dead_code, reason = "a vocabulary that other tests use more of")]
mod certificates;
mod client_allocations;
mod client_dependencies;
mod connection_age;
mod connection_limits;
mod deadlines;
mod floods;
mod forge;
mod honest_client;
mod http_edge;
mod idle_connections;
mod key_rotation;
mod layers;
mod memory;
mod message_sizes;
mod oracle;
#[path = "../grpc/raw_call.rs"]
mod raw_call;
mod raw_client;
mod refusal_time;
mod requirements;
mod requirements_table;
mod scene;
mod second_instance;
#[path = "../grpc/server_process.rs"]
mod server_process;
mod silent_handshakes;
mod slow_peers;
mod stale_cache;
mod store_faults;
mod token_profiles;
mod vectors;
