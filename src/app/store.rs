//! The one store that the configuration names: opened, handed out as any store, and closed as its
//! kind wants it. Knows no key and no record.

use std::path::PathBuf;
use std::sync::Arc;

use crate::authority::ports::{Clock, Entropy, Store};
use crate::config::{Config, StoreSafety, StoreUrl};
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::{RedisStore, Safety, Topology};

use super::StartError;

/// A store, and what its kind has beside the port.
pub(super) enum OpenStore {
    /// With the directory that it is in.
    Embedded(Arc<EmbeddedStore>, PathBuf),
    Redis(Arc<RedisStore>),
}

impl OpenStore {
    pub(super) async fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let (topology, url) = match &config.store {
            StoreUrl::Embedded(directory) => {
                let store = EmbeddedStore::open(directory, clock, entropy)?;
                return Ok(Self::Embedded(Arc::new(store), directory.clone()));
            }
            StoreUrl::Redis(url) => (Topology::Standalone, url),
            StoreUrl::RedisSentinel(url) => (Topology::Sentinel, url),
            StoreUrl::RedisCluster(url) => (Topology::Cluster, url),
        };
        // Before it connects: the key can't be in the store's directory, since there is none.
        if config.encryption_key_file.is_none() {
            return Err(StartError::NoKeyFile(config.store.to_string()));
        }
        let safety = match config.store_safety {
            StoreSafety::Required => Safety::Required,
            StoreSafety::Waived => Safety::Waived,
        };
        let store = RedisStore::open(topology, url.expose(), safety, clock, entropy).await?;
        Ok(Self::Redis(Arc::new(store)))
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store, _) => store.clone(),
            Self::Redis(store) => store.clone(),
        }
    }

    /// Where the key-encryption key is if nobody says: beside an embedded store.
    pub(super) fn own_key_file(&self) -> Option<PathBuf> {
        match self {
            Self::Embedded(_, directory) => Some(directory.join("kek")),
            Self::Redis(_) => None,
        }
    }

    /// Whether no other server can be on the store.
    pub(super) fn is_ours_alone(&self) -> bool {
        matches!(self, Self::Embedded(..))
    }

    /// Finishes what was accepted, and lets go of files and connections.
    pub(super) async fn close(self) {
        match self {
            Self::Embedded(store, _) => {
                let _ = tokio::task::spawn_blocking(move || store.close()).await;
            }
            Self::Redis(store) => store.close().await,
        }
    }
}
