//! What a server in a test keeps its data in: here the embedded store, in a directory of its own.

use std::path::Path;

use tempfile::TempDir;
use token_authority::config::{Config, StoreUrl};

#[derive(Debug)]
pub(crate) struct Backend(TempDir);

impl Backend {
    pub(crate) async fn start() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    /// Where it is.
    #[allow(dead_code, reason = "for tests that look into it")]
    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    /// Has a server use it.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.store = StoreUrl::Embedded(self.0.path().to_owned());
    }
}
