//! The composition root: parses nothing, decides nothing; builds the parts in order, runs them, and
//! drains them in reverse.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::authority::ports::{Clock, Entropy, Peers, Store};
use crate::authority::redefine_realms::RealmDefinition;
use crate::authority::{Authority, Parts, Realm};
use crate::config::{Config, ConfigError, Exposure, StoreUrl};
use crate::delivery::{self, Delivery, DeliveryError};
use crate::domain::ids::RealmName;
use crate::health::{Health, Watched};
use crate::listener::{ListenError, Listener, TlsError};
use crate::signing::Signer;
use crate::store::embedded;
use crate::store::key_encryption_key::KeyFileError;
use crate::store::observed::ObservedStore;
use crate::store::redis;
use crate::store::sealing::SealedStore;
use crate::store::vault::VaultError;
use crate::system::{SystemClock, SystemEntropy};
use crate::tasks::Tasks;
use crate::telemetry::call_meter::CallMeter;
use crate::verify::Verifier;
use crate::verify::keys::{Issuers, KeySet};
use crate::verify::revocations::RevocationIndex;
use crate::verify::service_account::Cluster;

mod cluster;
mod edges;
mod import;
mod lanes;
mod reload;
mod seal;
pub(crate) mod store;
mod tls;
mod vitals;

pub use import::import;
use lanes::Lanes;
use reload::Reload;
pub use reload::ReloadError;
pub use seal::rewrap;
use store::OpenStore;
use vitals::Vitals;

/// What clients that hold connections open get to finish; the whole stop takes less than 10 s.
const DRAIN: Duration = Duration::from_secs(5);
/// Memory for verified tokens.
const CACHE_BYTES: usize = 64 << 20;
/// How often expired revocations are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// Why a server can't start: what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificates.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The embedded store.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The store in Redis.
    #[error(transparent)]
    Redis(#[from] redis::OpenError),
    /// The key-encryption key.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The seal.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A store that has no directory to keep the key in.
    #[error(
        "--store {0} needs --key-file: the key that encrypts the store is never kept in Redis. Name a file of mode \
         0600 with 32 random bytes (openssl rand -hex 32), the same for each server on this store; with --dev it is \
         made if it is missing"
    )]
    NoKeyFile(String),
    /// Nothing to seal anew.
    #[error("there is no store in {}: name the directory of one with --store embedded:DIR", .0.display())]
    NoStore(PathBuf),
    /// Nothing that the store could be sealed with now.
    #[error("--previous-key-file is missing: name the file with the key that the store is sealed with now")]
    NoPreviousKey,
    /// A realm's record.
    #[error("realm {realm}: {source}")]
    Realm {
        /// The realm.
        realm: String,
        /// Why.
        source: crate::authority::Error,
    },
    /// The way of one-time codes.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// Something else.
    #[error("can't start: {0}")]
    Other(String),
}

/// A running server.
pub struct Server {
    addresses: Addresses,
    stop: watch::Sender<bool>,
    health: Health,
    edges: Vec<JoinHandle<()>>,
    tasks: Tasks,
    store: OpenStore,
    reload: Reload,
}

/// Where it listens.
struct Addresses {
    grpc: SocketAddr,
    http: SocketAddr,
    health: Option<SocketAddr>,
}

impl Server {
    /// Builds everything and starts to listen.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Arc::new(SystemClock::default()), Arc::new(SystemEntropy)).await
    }

    /// The same by another clock, for tests that turn it.
    pub async fn start_with(
        config: Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let tasks = Tasks::default();
        let tls = tls::Edges::open(config.tls.clone(), clock.clone(), &tasks)?;
        let http_scheme = if tls.http.is_some() { "https" } else { "http" };
        let grpc = Listener::bind("grpc", config.grpc, config.exposure, tls.grpc).await?;
        let http = Listener::bind("http", config.http, config.exposure, tls.http).await?;
        // Whether a server is ready is no secret, so anybody may ask.
        let probes = async |address| Listener::bind("health", address, Exposure::Insecure, None).await;
        let probes = OptionFuture::from(config.health.map(probes)).await.transpose()?;
        let (grpc_address, http_address) = (grpc.address(), http.address());
        let health_address = probes.as_ref().map(Listener::address);
        let base = config.public_url.clone().unwrap_or_else(|| format!("{http_scheme}://{http_address}"));

        check_key_file(&config)?;
        delivery::check(&config.realms)?;
        let opened = OpenStore::open(&config.store, config.store_safety, clock.clone(), entropy.clone()).await?;
        let clock = opened.clock(clock);
        let keys = seal::keys(&config, &opened, &*entropy).await?;
        let mut registry = Registry::default();
        let observed = Arc::new(ObservedStore::new(opened.store(), &mut registry));
        let store: Arc<dyn Store> = Arc::new(SealedStore::open(observed, &keys, &*entropy).await?);
        if opened.is_ours_alone() {
            seal::rewrap_with(&opened, &keys, &*entropy).await?;
        }

        let index = Arc::new(RevocationIndex::new(store.partitions()));
        prune(&tasks, index.clone(), clock.clone());
        let realms = open_realms(&config, &base, &*store, &*clock, &*entropy).await?;
        let delivery = Delivery::new(clock.clone(), &mut registry)?;
        let cluster = cluster::open(config.kubernetes.as_ref(), &tasks).await?;
        let watched = Watched { store: store.clone(), index: index.clone(), clock: clock.clone() };
        let on = Ground { store: store.clone(), peers: opened.peers(), tasks: tasks.clone(), clock, entropy, cluster };
        let authority = Arc::new(assemble(realms, &config, on, index.clone())?);
        tasks.spawn_until_stopped(authority.clone().follow_log());
        tasks.spawn_until_stopped(authority.clone().keep_company());

        // Nobody knows what was revoked before.
        index.complete().await;
        info!(entries = index.len(), "revocation log read");
        let tending = authority.clone();
        tasks.spawn_until_stopped(async move { tending.tend_keys().await });
        tasks.spawn_until_stopped(authority.clone().write_touches());
        tasks.spawn_until_stopped(delivery.run(authority.clone()));

        let (reporter, health_service) = tonic_health::server::health_reporter();
        let health = Health::starting(reporter).await;
        let (stop, stopped) = watch::channel(false);
        let calls = CallMeter::new(&mut registry);
        let vitals = Vitals { authority: authority.clone(), index, readiness: health.readiness() };
        registry.register_collector(Box::new(vitals));
        let reload = Reload::new(authority.clone(), &base, config.clone(), &mut registry);
        let http_edge = edges::http(http, &config, authority.clone(), health.readiness(), registry, stopped.clone())?;
        let health_edge = probes.map(|probes| edges::health(probes, &config, health_service.clone(), stopped.clone()));
        let lanes = Lanes { tasks: tasks.clone(), store: opened.clone() };
        let grpc_edge = edges::grpc(grpc, &config, authority, health_service, &calls, lanes, stopped)?;
        let mut edges = vec![tasks.spawn_edge("grpc", grpc_edge), tasks.spawn_edge("http", http_edge)];
        edges.extend(health_edge.map(|edge| tasks.spawn_edge("health", edge)));
        health.check(&watched).await;
        let watching = health.clone();
        tasks.spawn_until_stopped(async move { watching.watch(&watched).await });
        let addresses = Addresses { grpc: grpc_address, http: http_address, health: health_address };
        Ok(Self { addresses, stop, health, edges, tasks, store: opened, reload })
    }

    /// Where gRPC listens.
    pub fn grpc_address(&self) -> SocketAddr {
        self.addresses.grpc
    }

    /// Where HTTP listens.
    pub fn http_address(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Where health alone is served, if it is.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.addresses.health
    }

    /// Reads the realms again whenever SIGHUP comes from now on; the rest of a configuration waits for the
    /// next start. What is wrong leaves every realm as it was, and is logged.
    pub fn reload_on_hangup(
        &self,
        read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> io::Result<()> {
        self.reload.clone().follow(&self.tasks, read)
    }

    /// Makes the realms what this says; the names of those that are new or changed.
    pub async fn reload(&self, config: Config) -> Result<Vec<RealmName>, ReloadError> {
        self.reload.reload(Ok(config)).await
    }

    /// Runs until it is told to end, then stops.
    pub async fn run_until(self, end: impl Future<Output = ()>) {
        end.await;
        info!("stopping");
        self.stop().await;
    }

    /// Refuses new work, lets what is under way finish, and leaves within 10 s whatever clients
    /// hold open. What was acknowledged is durable at any time.
    pub async fn stop(self) {
        self.health.stopping().await;
        self.stop.send_replace(true);
        let deadline = tokio::time::sleep(DRAIN);
        tokio::pin!(deadline);
        for mut edge in self.edges {
            tokio::select! {
                _ = &mut edge => {}
                () = &mut deadline => edge.abort(),
            }
        }
        if tokio::time::timeout(Duration::from_secs(2), self.tasks.finished()).await.is_err() {
            warn!("some work did not finish in time");
        }
        self.store.close().await;
    }
}

/// Waits for SIGTERM or SIGINT. Catches them from this call on, not only once it is awaited: whoever
/// reads that the server listens may end it at once.
pub fn termination() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Each SIGHUP from this call on; it no longer ends the process.
fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Before anything connects: the key can't be in the store's directory where there is none.
fn check_key_file(config: &Config) -> Result<(), StartError> {
    match (&config.store, &config.encryption_key_file) {
        (StoreUrl::Embedded(_), _) | (_, Some(_)) => Ok(()),
        (url, None) => Err(StartError::NoKeyFile(url.to_string())),
    }
}

async fn open_realms(
    config: &Config,
    base: &str,
    store: &dyn Store,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Vec<Arc<Realm>>, StartError> {
    let mut realms = Vec::new();
    for RealmDefinition { policy, clients, issuer } in reload::definitions(config, base) {
        let name = policy.realm.to_string();
        let opened = Realm::open(policy, clients, &issuer, store, clock, entropy).await;
        realms.push(opened.map_err(|source| StartError::Realm { realm: name, source })?);
    }
    Ok(realms)
}

/// What an authority stands on.
struct Ground {
    store: Arc<dyn Store>,
    peers: Arc<dyn Peers>,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    cluster: Option<Arc<Cluster>>,
}

/// The authority over its realms.
fn assemble(
    realms: Vec<Arc<Realm>>,
    config: &Config,
    on: Ground,
    index: Arc<RevocationIndex>,
) -> Result<Authority, StartError> {
    let Ground { store, peers, tasks, clock, entropy, cluster } = on;
    let other = |error: &dyn std::fmt::Display| StartError::Other(error.to_string());
    let signer = Arc::new(Signer::new().map_err(|error| other(&error))?);
    let (keys, issuers) = (Arc::new(KeySet::default()), Arc::new(Issuers::default()));
    let verifier = Arc::new(Verifier::new(keys, issuers, index.clone(), CACHE_BYTES));
    let max_staleness = config.max_staleness;
    let parts = Parts { realms, store, peers, tasks, signer, verifier, index, max_staleness, clock, entropy, cluster };
    Authority::new(parts).map_err(|error| other(&error))
}

/// Keeps the index small.
fn prune(tasks: &Tasks, index: Arc<RevocationIndex>, clock: Arc<dyn Clock>) {
    tasks.spawn_until_stopped(async move {
        loop {
            tokio::time::sleep(PRUNE_EVERY).await;
            index.prune(clock.now());
        }
    });
}
