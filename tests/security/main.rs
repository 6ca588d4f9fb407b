//! Attacks and faults, one file a family, and the test vectors of others. All through the public API.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod attack_table;
mod client_allocations;
mod client_dependencies;
mod floods;
mod forge;
mod layers;
mod oracle;
mod requirements;
mod requirements_table;
mod stale_cache;
mod store_faults;
mod vectors;
