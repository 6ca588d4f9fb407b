//! What a server in a test keeps its data in: here a Redis, on the way that users configure. One of its
//! own, unless `topologies` runs this program with a store that all tests share.

use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use token_authority::config::{Config, CreateKey, StoreSafety, StoreUrl};

use crate::redis_server::RedisServer;

/// The variable that says where the shared store is: a URL to which a prefix has to be added.
pub(crate) const SHARED_STORE: &str = "TEST_SHARED_STORE";

#[derive(Debug)]
pub(crate) struct Backend {
    url: String,
    directory: TempDir,
    own: Option<RedisServer>,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        if let Ok(shared) = std::env::var(SHARED_STORE) {
            static STORES: AtomicUsize = AtomicUsize::new(0);
            // One run of this program has the shared store to itself.
            let number = STORES.fetch_add(1, Ordering::SeqCst);
            return Self { url: format!("{shared}store{number}"), directory, own: None };
        }
        let redis = RedisServer::start().await;
        Self { url: redis.url("test"), directory, own: Some(redis) }
    }

    /// The Redis that nobody else uses.
    #[allow(dead_code, reason = "for tests that look into it")]
    pub(crate) fn redis(&self) -> &RedisServer {
        self.own.as_ref().expect("a Redis of its own")
    }

    #[allow(dead_code, reason = "for servers beside the one that it is made for")]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Has a server use it.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.store = StoreUrl::parse(&self.url).expect("a URL");
        config.encryption_key_file = Some(self.directory.path().join("kek"));
        config.create_key = CreateKey::IfMissing;
        // The test's clock is not that of Redis.
        config.store_safety = StoreSafety::Waived;
    }
}
