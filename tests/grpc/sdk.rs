//! The client's SDK against a real server, with a relay between them that counts, loses answers, and
//! sends what the test decides.

mod attach;
mod channel;
mod greeter;
mod introspection;
mod proof;
mod protected;
pub(crate) mod relay;
mod revocations;
mod token_source;
mod verifier;
