//! The gRPC edge: decodes a request, calls a use case, encodes the answer. No rules live here.

mod answer;
mod bound;
mod ext_authz;
mod gate;
mod introspections;
mod key_service;
pub mod limits;
mod open_streams;
mod otp_service;
mod receipts;
mod revocation_feed;
mod session_messages;
mod session_service;
mod status;
mod token_service;
mod validate;
mod wire;

pub use ext_authz::{EXT_AUTHZ, ExtAuthz};
pub use gate::{Gate, check_rows};
pub use introspections::Introspections;
pub use key_service::{Keys, key_message};
pub use open_streams::OpenStreams;
pub use otp_service::Codes;
pub use session_service::Sessions;
pub use token_service::Tokens;
