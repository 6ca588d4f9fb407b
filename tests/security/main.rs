//! Attacks, one file a family, and the test vectors of others. All through the public API.
#![allow(clippy::unwrap_used)]

mod attack_table;
mod forge;
mod layers;
mod oracle;
mod stale_cache;
mod vectors;
