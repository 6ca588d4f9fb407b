//! Attaches a session's access token to what a client sends, and sends it once more with a new token
//! where a service refuses the first.

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::replay::Replay;
use super::token_source::{NoToken, Token, TokenSource};

/// A layer for a channel: `ServiceBuilder::new().layer(AttachToken::new(source)).service(channel)`.
///
/// A call that is answered UNAUTHENTICATED was not done, so it is sent again, once, with a new token.
/// That needs what was sent of its request, of which 64 KiB are kept: a unary call of that size, or a
/// stream at its beginning. One of which more was sent gets the refusal.
#[derive(Debug, Clone)]
pub struct AttachToken(TokenSource);

impl AttachToken {
    /// With this session's tokens.
    pub fn new(source: TokenSource) -> Self {
        Self(source)
    }
}

impl<S> Layer<S> for AttachToken {
    type Service = Attached<S>;

    fn layer(&self, inner: S) -> Attached<S> {
        Attached { source: self.0.clone(), inner }
    }
}

/// A channel behind [`AttachToken`].
#[derive(Debug, Clone)]
pub struct Attached<S> {
    source: TokenSource,
    inner: S,
}

impl<S, R> Service<Request<Body>> for Attached<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<Response<R>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The channel that was polled ready sends; its clone waits for the next request.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let source = self.source.clone();
        Box::pin(async move {
            let token = match source.token().await {
                Ok(token) => token,
                Err(none) => return Ok(status(none).into_http()),
            };
            let (request, replay) = Replay::keep(request);
            let answer = inner.call(with(request, &token)).await?;
            if !is_refused(&answer) {
                return Ok(answer);
            }
            let Some(request) = replay.request() else { return Ok(answer) };
            let Ok(token) = source.renewed(&token).await else { return Ok(answer) };
            poll_fn(|context| inner.poll_ready(context)).await?;
            inner.call(with(request, &token)).await
        })
    }
}

fn with(mut request: Request<Body>, token: &Token) -> Request<Body> {
    // A JWT has only characters that a header may have.
    if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) {
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    request
}

/// A refusal before the call: with headers alone, since a later one may stand behind a part of the
/// answer.
fn is_refused<R>(answer: &Response<R>) -> bool {
    let status = Status::from_header_map(answer.headers());
    status.is_some_and(|status| status.code() == Code::Unauthenticated) || answer.status() == StatusCode::UNAUTHORIZED
}

fn status(none: NoToken) -> Status {
    match none {
        NoToken::Over(_) => Status::unauthenticated("the session is over: log in again"),
        NoToken::Unavailable(_) => Status::unavailable("the session can't be refreshed now"),
    }
}
