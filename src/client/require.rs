//! What an identity must have beyond being known: a scope, a role, a claim. Stands behind `protect`,
//! and refuses everybody without it.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use serde_json::Value;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tower::{Layer, Service};

use super::challenge::Shape;
use super::identity::Identity;
use super::rejection::{Lacking, NotAuthenticated, Rejection};
use crate::domain::ids::{InvalidName, Scope};

#[derive(Debug)]
enum Requirement {
    Scope(Scope),
    Role(String),
    Claim(String, Value),
}

/// Lets through only identities with this scope. Layers add up.
pub fn require_scope(scope: &str) -> Result<Require, InvalidName> {
    Ok(Require(Arc::new(Requirement::Scope(Scope::parse(scope)?))))
}

/// Lets through only identities whose claim `role` or `roles` is, or holds, this role.
pub fn require_role(role: &str) -> Require {
    Require(Arc::new(Requirement::Role(role.to_owned())))
}

/// Lets through only identities whose claim is, or holds, this value.
pub fn require_claim(name: &str, value: impl Into<Value>) -> Require {
    Require(Arc::new(Requirement::Claim(name.to_owned(), value.into())))
}

/// A layer that stands behind [`Protect`](super::Protect) and lets through only some identities.
#[derive(Debug, Clone)]
pub struct Require(Arc<Requirement>);

impl Require {
    /// Whether whoever asks may pass; for handlers that decide by the request's content.
    pub fn check(&self, identity: &Identity) -> Result<(), Rejection> {
        let lacking = match &*self.0 {
            Requirement::Scope(scope) if !identity.scope().contains(scope) => Lacking::Scope(scope.clone()),
            Requirement::Role(role) if !identity.has_role(role) => Lacking::Role(role.clone()),
            Requirement::Claim(name, value) if !identity.has_claim(name, value) => Lacking::Claim(name.clone()),
            Requirement::Scope(_) | Requirement::Role(_) | Requirement::Claim(..) => return Ok(()),
        };
        Err(Rejection::Insufficient(lacking))
    }
}

impl<S> Layer<S> for Require {
    type Service = Required<S>;

    fn layer(&self, inner: S) -> Required<S> {
        Required { require: self.clone(), inner }
    }
}

/// A service behind [`Require`].
#[derive(Debug, Clone)]
pub struct Required<S> {
    require: Require,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Required<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<Response<R>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let checked = match request.extensions().get::<Identity>() {
            Some(identity) => self.require.check(identity),
            None => Err(Rejection::NotAuthenticated(NotAuthenticated::NoToken)),
        };
        match checked {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(rejection) => {
                let answer = Shape::of(request.headers()).refuse(&rejection);
                Box::pin(async move { Ok(answer) })
            }
        }
    }
}

impl<S: NamedService> NamedService for Required<S> {
    const NAME: &'static str = S::NAME;
}
