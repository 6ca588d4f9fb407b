//! Token Authority.

#[cfg(feature = "server")]
pub mod authority;
pub mod domain;
pub mod verify;
