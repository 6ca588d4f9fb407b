//! The one store that a URL names: opened, handed out as any store, and closed as its kind wants it.
//! Knows no key and no record.

use std::path::PathBuf;
use std::sync::Arc;

use crate::authority::ports::{Clock, Entropy, Peers, Store};
use crate::config::{StoreSafety, StoreUrl};
use crate::store::alone::Alone;
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::{RedisStore, Safety, Topology};
use crate::store::scan::Scan;

use super::StartError;

/// A store, and what its kind has beside the port.
#[derive(Clone)]
pub(crate) enum OpenStore {
    /// With the directory that it is in.
    Embedded(Arc<EmbeddedStore>, PathBuf),
    Redis(Arc<RedisStore>),
}

impl OpenStore {
    /// Opens the store, made if there is none.
    pub(crate) async fn open(
        url: &StoreUrl,
        safety: StoreSafety,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let safety = checked(safety);
        Ok(match place(url) {
            Place::Directory(directory) => {
                Self::Embedded(Arc::new(EmbeddedStore::open(&directory, clock, entropy)?), directory)
            }
            Place::Redis(topology, url) => {
                Self::Redis(Arc::new(RedisStore::open(topology, url, safety, clock, entropy).await?))
            }
        })
    }

    /// Opens a store that is there; makes none.
    pub(crate) async fn open_existing(
        url: &StoreUrl,
        safety: StoreSafety,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let safety = checked(safety);
        Ok(match place(url) {
            Place::Directory(directory) => {
                Self::Embedded(Arc::new(EmbeddedStore::open_existing(&directory, clock, entropy)?), directory)
            }
            Place::Redis(topology, url) => {
                Self::Redis(Arc::new(RedisStore::open_existing(topology, url, safety, clock, entropy).await?))
            }
        })
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store, _) => store.clone(),
            Self::Redis(store) => store.clone(),
        }
    }

    /// Who else is on it.
    pub(crate) fn peers(&self) -> Arc<dyn Peers> {
        match self {
            Self::Embedded(..) => Arc::new(Alone),
            Self::Redis(store) => store.clone(),
        }
    }

    /// The same, to be read whole.
    pub(crate) fn scan(&self) -> Arc<dyn Scan> {
        match self {
            Self::Embedded(store, _) => store.clone(),
            Self::Redis(store) => store.clone(),
        }
    }

    /// The time that the store is judged by: the given clock, or what the store makes of it.
    pub(crate) fn clock(&self, given: Arc<dyn Clock>) -> Arc<dyn Clock> {
        match self {
            Self::Embedded(..) => given,
            Self::Redis(store) => store.clock(),
        }
    }

    /// Where the key-encryption key is if nobody says: beside an embedded store.
    pub(crate) fn own_key_file(&self) -> Option<PathBuf> {
        match self {
            Self::Embedded(_, directory) => Some(directory.join("kek")),
            Self::Redis(_) => None,
        }
    }

    /// Whether no other server can be on the store.
    pub(crate) fn is_ours_alone(&self) -> bool {
        matches!(self, Self::Embedded(..))
    }

    /// Does work that asks the store in a runtime of its own.
    pub(crate) async fn at_home<T>(&self, work: impl Future<Output = T>) -> T {
        match self {
            Self::Embedded(..) => work.await,
            Self::Redis(store) => store.at_home(work).await,
        }
    }

    /// Finishes what was accepted, and lets go of files and connections.
    pub(crate) async fn close(self) {
        match self {
            Self::Embedded(store, _) => {
                let _ = tokio::task::spawn_blocking(move || store.close()).await;
            }
            Self::Redis(store) => store.close().await,
        }
    }
}

fn checked(safety: StoreSafety) -> Safety {
    match safety {
        StoreSafety::Required => Safety::Required,
        StoreSafety::Waived => Safety::Waived,
    }
}

enum Place<'a> {
    Directory(PathBuf),
    Redis(Topology, &'a str),
}

fn place(url: &StoreUrl) -> Place<'_> {
    match url {
        StoreUrl::Embedded(directory) => Place::Directory(directory.clone()),
        StoreUrl::Redis(url) => Place::Redis(Topology::Standalone, url.expose()),
        StoreUrl::RedisSentinel(url) => Place::Redis(Topology::Sentinel, url.expose()),
        StoreUrl::RedisCluster(url) => Place::Redis(Topology::Cluster, url.expose()),
    }
}
