//! A channel to the authority that proves with each call who makes it, and sends what never left over
//! another connection. Knows no call.

use std::error::Error;
use std::future::poll_fn;
use std::iter;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::transport::{self, Channel};
use tower::Service;

use super::proof::Proof;
use super::replay::Replay;

/// What [`ChannelOptions`](super::ChannelOptions) makes, for any generated client. A tonic `Channel` becomes
/// one that proves nothing.
///
/// A server asks for a new connection now and then. A call that was still waiting for the old one when that
/// closed is sent over the new one, so that it is not lost.
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
        let (request, replay) = Replay::keep(request);
        let sending = self.channel.call(request);
        let mut channel = self.channel.clone();
        Box::pin(async move {
            match sending.await {
                Err(error) if was_never_sent(&error) => {
                    let Some(request) = replay.request() else { return Err(error) };
                    poll_fn(|context| channel.poll_ready(context)).await?;
                    channel.call(request).await
                }
                answered => answered,
            }
        })
    }
}

/// Only a request of which no byte has left is given back as canceled; of any other the outcome is unknown.
fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut causes = iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled))
}
