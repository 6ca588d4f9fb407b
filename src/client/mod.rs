//! The SDK of services that use the authority: `Verifier` and its layers protect a service, a
//! `TokenSource` keeps a session going. Built without the server; the checks are `verify`'s.
//!
//! A request to a protected service passes [`Protect`], which finds the token and asks the
//! [`Verifier`]. That decides in memory: keys come from the authority's key set, revocations from its
//! feed. It asks the authority only about a key that it does not know and, where the feed is too far
//! behind, about the token itself.

mod attach;
mod authority_channel;
mod backoff;
mod challenge;
mod channel;
mod credentials;
mod identity;
mod jwks_http;
mod keys;
mod proof;
mod protect;
mod receipts;
mod refresh;
mod rejection;
mod replay;
mod require;
mod revocation_entry;
mod revocations;
mod token_source;
mod token_storage;
mod verifier;

pub use attach::AttachToken;
pub use authority_channel::AuthorityChannel;
pub use backoff::Backoff;
pub use channel::{ChannelOptions, InvalidAddress};
pub use identity::Identity;
pub use jwks_http::HttpJwks;
pub use keys::{FetchKeys, NotFetched};
pub use proof::{InvalidProof, Proof};
pub use protect::{Protect, Protected};
pub use refresh::SessionOver;
pub use rejection::{Lacking, NotAuthenticated, Outage, Rejection};
pub use require::{Require, Required, require_claim, require_role, require_scope};
pub use token_source::{NoToken, Token, TokenSource, TokenSourceBuilder};
pub use token_storage::{FileStorage, MemoryStorage, TokenStorage};
pub use verifier::{Verifier, VerifierBuilder, WhenStale};
