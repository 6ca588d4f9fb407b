//! The one verifier: strict JWT checks, keys by `kid`, the revocation index, a cache of what was
//! verified. Introspection, gateways and the client SDK all use it; it knows no clock, no store and
//! no network.

mod bearer;
mod cache;
pub mod client;
pub mod client_assertion;
mod json;
mod jwt;
pub mod keys;
mod public_key;
mod rejection;
pub mod revocations;
pub mod service_account;
mod token;
mod uniform;
mod verifier;

pub use bearer::Bearer;
pub use jwt::MAX_TOKEN_BYTES;
pub use rejection::Rejection;
pub use token::{VerifiedToken, Worded};
pub use verifier::{Leeway, Verifier};
