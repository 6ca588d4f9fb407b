//! What a server in a test keeps its data in: either store, as the test says.

#[path = "../grpc/backend.rs"]
mod embedded;
#[path = "../store/grpc/backend.rs"]
mod redis;

use token_authority::config::Config;

/// The stores on which each row is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Embedded,
    Redis,
}

impl Store {
    pub(crate) const ALL: [Self; 2] = [Self::Embedded, Self::Redis];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis => "redis",
        }
    }
}

#[derive(Debug)]
pub(crate) enum Backend {
    Embedded(embedded::Backend),
    Redis(redis::Backend),
}

impl Backend {
    /// What a server has if nobody says.
    pub(crate) async fn start() -> Self {
        Self::of(Store::Embedded).await
    }

    pub(crate) async fn of(store: Store) -> Self {
        match store {
            Store::Embedded => Self::Embedded(embedded::Backend::start().await),
            Store::Redis => Self::Redis(redis::Backend::start().await),
        }
    }

    pub(crate) fn store(&self) -> Store {
        match self {
            Self::Embedded(_) => Store::Embedded,
            Self::Redis(_) => Store::Redis,
        }
    }

    /// Has a server use it.
    pub(crate) fn configure(&self, config: &mut Config) {
        match self {
            Self::Embedded(backend) => backend.configure(config),
            Self::Redis(backend) => backend.configure(config),
        }
    }
}
