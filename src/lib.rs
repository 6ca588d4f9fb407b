//! Token Authority.

#[cfg(feature = "server")]
pub mod authority;
pub mod domain;
#[cfg(feature = "server")]
pub mod store;
