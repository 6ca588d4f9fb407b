//! A channel to the authority that proves with each call who makes it. Knows no call.

use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::transport::{self, Channel};
use tower::Service;

use super::proof::Proof;

/// What [`ChannelOptions`](super::ChannelOptions) makes, for any generated client. A tonic `Channel` becomes
/// one that proves nothing.
#[derive(Debug, Clone)]
pub struct AuthorityChannel {
    channel: Channel,
    proof: Proof,
}

impl AuthorityChannel {
    /// Adds a proof to a channel.
    pub fn new(channel: Channel, proof: Proof) -> Self {
        Self { channel, proof }
    }
}

impl From<Channel> for AuthorityChannel {
    fn from(channel: Channel) -> Self {
        Self::new(channel, Proof::default())
    }
}

impl Service<Request<Body>> for AuthorityChannel {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = BoxFuture<Response<Body>, transport::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), transport::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // What a caller says of this one call counts.
        if !request.headers().contains_key(AUTHORIZATION) {
            match self.proof.authorization() {
                Ok(Some(value)) => drop(request.headers_mut().insert(AUTHORIZATION, value)),
                Ok(None) => {}
                Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
            }
        }
        Box::pin(self.channel.call(request))
    }
}
