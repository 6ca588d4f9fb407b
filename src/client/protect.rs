//! Puts a verifier in front of any HTTP or gRPC service, axum's and tonic's alike. What passes has an
//! [`Identity`](super::Identity) among the request's extensions.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tower::{Layer, Service};

use super::challenge::Shape;
use super::credentials::token;
use super::rejection::Rejection;
use super::verifier::Verifier;

/// The layer that lets through only requests with a valid token.
#[derive(Debug, Clone)]
pub struct Protect {
    verifier: Verifier,
    cookie: Option<Arc<str>>,
}

impl Protect {
    /// With the token in `authorization: Bearer …`.
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, cookie: None }
    }

    /// Also with the token in this cookie, where there is no `authorization`. Browsers send cookies
    /// on their own: make it `SameSite`, or check the request's origin before this layer.
    #[must_use]
    pub fn or_cookie(self, name: &str) -> Self {
        Self { cookie: Some(name.into()), ..self }
    }
}

impl<S> Layer<S> for Protect {
    type Service = Protected<S>;

    fn layer(&self, inner: S) -> Protected<S> {
        Protected { protect: self.clone(), inner }
    }
}

/// A service behind [`Protect`].
#[derive(Debug, Clone)]
pub struct Protected<S> {
    protect: Protect,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Protected<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<Response<R>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let shape = Shape::of(request.headers());
        let token = match token(request.headers(), self.protect.cookie.as_deref()) {
            Ok(token) => token,
            Err(why) => {
                let answer = shape.refuse(&Rejection::NotAuthenticated(why));
                return Box::pin(async move { Ok(answer) });
            }
        };
        let known = self.protect.verifier.verify_known(token);
        // The service that was polled ready serves; its clone waits for the next request.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        match known {
            Some(Ok(identity)) => {
                request.extensions_mut().insert(identity);
                Box::pin(inner.call(request))
            }
            Some(Err(rejection)) => Box::pin(async move { Ok(shape.refuse(&rejection)) }),
            None => {
                let (verifier, token) = (self.protect.verifier.clone(), token.to_owned());
                Box::pin(async move {
                    match verifier.verify(&token).await {
                        Ok(identity) => {
                            request.extensions_mut().insert(identity);
                            inner.call(request).await
                        }
                        Err(rejection) => Ok(shape.refuse(&rejection)),
                    }
                })
            }
        }
    }
}

impl<S: NamedService> NamedService for Protected<S> {
    const NAME: &'static str = S::NAME;
}
