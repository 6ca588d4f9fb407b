//! What a server in a test keeps its data in: here a Redis of its own, on the way that users configure.

use tempfile::TempDir;
use token_authority::config::{Config, CreateKey, StoreSafety, StoreUrl};

use crate::redis_server::RedisServer;

#[derive(Debug)]
pub(crate) struct Backend {
    redis: RedisServer,
    directory: TempDir,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        Self { redis: RedisServer::start().await, directory: TempDir::new().expect("a directory") }
    }

    /// Has a server use it.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.store = StoreUrl::parse(&self.redis.url("test")).expect("a URL");
        config.encryption_key_file = Some(self.directory.path().join("kek"));
        config.create_key = CreateKey::IfMissing;
        // The test's clock is not that of Redis.
        config.store_safety = StoreSafety::Waived;
    }
}
