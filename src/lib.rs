//! Token Authority.

#[cfg(feature = "server")]
pub mod authority;
pub mod domain;
#[cfg(feature = "server")]
pub mod grpc;
pub mod proto;
#[cfg(feature = "server")]
pub mod signing;
#[cfg(feature = "server")]
pub mod system;
#[cfg(feature = "server")]
pub mod tasks;
pub mod verify;
