//! The gRPC edge: decodes a request, calls a use case, encodes the answer. No rules live here.

use tonic::{Request, Status};

mod answer;
mod ext_authz;
mod key_service;
pub mod limits;
mod open_streams;
mod otp_service;
mod revocation_feed;
mod session_service;
mod status;
mod token_service;
mod validate;
mod wire;

pub use ext_authz::ExtAuthz;
pub use key_service::{Keys, key_message};
pub use open_streams::OpenStreams;
pub use otp_service::Codes;
pub use session_service::Sessions;
pub use token_service::Tokens;

use crate::proto::v1::ErrorReason;

/// The message of a request that keeps the rules of its `.proto` file.
fn checked<T: validate::Validate>(request: Request<T>) -> Result<T, Status> {
    let message = request.into_inner();
    match validate::check(&message) {
        Ok(()) => Ok(message),
        Err(violations) => Err(status::invalid(ErrorReason::InvalidRequest, violations)),
    }
}
