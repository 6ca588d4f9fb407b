//! Routes, each with its row in the authorization table. Knows no endpoint.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, Route};
use tower::{Layer, Service};

use crate::authority::authorization::{NoRow, row};

use super::Edge;

/// Under which each realm has its endpoints; those of `default` stand without it too.
pub(super) const OF_REALM: &str = "/realms/{realm}";

/// What the table calls a route: its path without the realm.
pub(super) fn call(path: &str) -> &str {
    path.strip_prefix(OF_REALM).unwrap_or(path)
}

/// A router under way.
pub(super) struct Routes {
    router: Router<Edge>,
    /// The first route that nobody may ever call.
    wrong: Option<NoRow>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { router: Router::new(), wrong: None }
    }

    pub(super) fn route(self, path: &str, handlers: MethodRouter<Edge>) -> Self {
        let wrong = self.wrong.or_else(|| row(call(path)).err());
        Self { router: self.router.route(path, handlers), wrong }
    }

    pub(super) fn merge(self, other: Self) -> Self {
        Self { router: self.router.merge(other.router), wrong: self.wrong.or(other.wrong) }
    }

    pub(super) fn nest(self, path: &str, other: Self) -> Self {
        Self { router: self.router.nest(path, other.router), wrong: self.wrong.or(other.wrong) }
    }

    pub(super) fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        Self { router: self.router.layer(layer), wrong: self.wrong }
    }

    /// The router, if each of its routes has a row.
    pub(super) fn checked(self) -> Result<Router<Edge>, NoRow> {
        match self.wrong {
            None => Ok(self.router),
            Some(wrong) => Err(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[test]
    fn a_route_without_a_row_is_no_router() {
        let unheard = || Routes::new().route("/unheard", get(async || "ok"));
        assert!(Routes::new().route("/livez", get(async || "ok")).checked().is_ok());
        assert!(unheard().checked().is_err());
        assert!(Routes::new().merge(unheard()).checked().is_err());
        assert!(Routes::new().nest(OF_REALM, unheard()).checked().is_err());
    }
}
