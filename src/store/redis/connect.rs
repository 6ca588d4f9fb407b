//! Connections to each topology, and their limits: the only file that knows which one it is. Sends
//! nothing but what the driver sends to connect.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::{Client, Pool, SubscriberClient};
use fred::error::Error;
use fred::interfaces::{ClientLike as _, ClusterInterface as _, PubsubInterface as _};
use fred::rustls::pki_types::CertificateDer;
use fred::rustls::pki_types::pem::PemObject as _;
use fred::rustls::{ClientConfig, RootCertStore};
use fred::types::Builder;
use fred::types::config::{
    ClusterDiscoveryPolicy, Config, ConnectionConfig, Options, PerformanceConfig, ReconnectError, ReconnectPolicy,
    Server, ServerConfig, TcpConfig, TlsConfig, TlsConnector, UnresponsiveConfig,
};
use tracing::debug;

use super::address::{Address, Topology};
use super::fault;
use super::open_error::OpenError;
use super::own_connections::{Connection, Own, Settled};

/// Below the deadline that most callers set: who waits longer has gone.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Commands that may wait for the connection; further ones are refused, and known not to be sent.
const QUEUED_COMMANDS: usize = 8192;
/// Published entries that a follower may lag behind; beyond, it reads the heads.
const QUEUED_MESSAGES: usize = 8192;
/// How often a command goes after a slot that moves, and how long it waits before each.
const REDIRECTIONS: u32 = 20;
const REDIRECTION_PAUSE: Duration = Duration::from_millis(20);
/// Milliseconds before the first attempt to reconnect, and at most.
const RECONNECT: (u32, u32) = (50, 1000);
/// Between two attempts to open a connection of a runtime's own, without which nothing waits.
const OPENED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Each answers one commit at a time that waits for replicas.
const WAITING_CONNECTIONS: usize = 4;

/// What the store holds open. Prints nothing: the builder knows the password.
#[derive(Clone)]
pub(super) struct Connections {
    /// For whoever has none of its own.
    common: Connection,
    own: Arc<Own>,
    builder: Builder,
    /// A connection that listens can do nothing else.
    pub(super) subscriber: SubscriberClient,
    /// Where the URL wants replicas to be waited for.
    pub(super) waiting: Option<Pool>,
}

impl Connections {
    pub(super) async fn open(address: &Address) -> Result<Self, OpenError> {
        let unreachable =
            |error: &Error| OpenError::Unreachable { address: address.servers(), detail: error.to_string() };
        let builder = builder(address)?;
        let commands = builder.build().map_err(|error| unreachable(&error))?;
        let subscriber = builder.build_subscriber_client().map_err(|error| unreachable(&error))?;
        let waiting = address.wait().map(|_| builder.build_pool(WAITING_CONNECTIONS)).transpose();
        let waiting = waiting.map_err(|error| unreachable(&error))?;
        // The driver would try for ever to find a primary that no Sentinel knows.
        let connected = async {
            commands.init().await?;
            if let Some(waiting) = &waiting {
                waiting.init().await?;
            }
            subscriber.init().await
        };
        match tokio::time::timeout(3 * CONNECT_TIMEOUT, connected).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(unreachable(&error)),
            Err(_) => {
                let detail = "no answer".to_owned();
                return Err(OpenError::Unreachable { address: address.servers(), detail });
            }
        }
        // Subscribes again after each reconnection, for as long as the client lives.
        drop(subscriber.manage_subscriptions());
        Ok(Self { common: Connection::new(commands), own: Arc::default(), builder, subscriber, waiting })
    }

    /// The connection of whoever has none of its own.
    pub(super) fn common(&self) -> &Client {
        &self.common.client
    }

    /// The connection of the runtime that this runs in.
    pub(super) fn here(&self) -> Connection {
        self.own.here().unwrap_or_else(|| self.common.clone())
    }

    /// Gives this runtime a connection of its own, as soon as one can be opened.
    pub(super) async fn settle(&self) -> Settled {
        loop {
            match self.open_another().await {
                Ok(client) => return self.own.settle(Connection::new(client)),
                Err(error) => debug!(%error, "this thread has no connection of its own yet"),
            }
            tokio::time::sleep(OPENED_AGAIN_AFTER).await;
        }
    }

    async fn open_another(&self) -> Result<Client, Error> {
        let client = self.builder.build()?;
        client.init().await?;
        Ok(client)
    }

    /// Every connection that commands are sent over.
    pub(super) fn all(&self) -> Vec<Connection> {
        let mut all = self.own.all();
        all.push(self.common.clone());
        all
    }

    /// Where what is said of one server has to be asked of each; `None`: of the only one.
    pub(super) fn primaries(&self) -> Vec<Option<Server>> {
        match self.common.client.cached_cluster_state() {
            Some(cluster) => cluster.unique_primary_nodes().into_iter().map(Some).collect(),
            None => vec![None],
        }
    }

    /// Subscribes, now and after each reconnection.
    pub(super) async fn listen(&self, channel: &str) -> Result<(), Error> {
        self.subscriber.subscribe(channel).await
    }

    pub(super) async fn close(&self) {
        // Each fails only if there is no connection.
        let _ = self.subscriber.quit().await;
        if let Some(waiting) = &self.waiting {
            let _ = waiting.quit().await;
        }
        let _ = self.common.client.quit().await;
    }
}

/// For commits: sent once. After a broken connection nobody knows whether it was read, and the
/// driver's own repetition would hide that.
pub(super) fn once() -> Options {
    Options { max_attempts: Some(1), ..Options::default() }
}

/// For Redis, which takes no more than 64 bits in all of now and the time to live.
pub(super) fn millis(duration: Duration) -> i64 {
    const LONGEST: i64 = 1 << 52;
    i64::try_from(duration.as_millis()).unwrap_or(LONGEST).min(LONGEST)
}

/// Sends again what a node of a Cluster refused, since its slot has moved or is about to: the driver
/// asks where it is, but follows no redirection.
pub(super) async fn following_slots<T, F>(send: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 0..REDIRECTIONS {
        match send().await {
            Err(error) if fault::was_redirected(&error) => tokio::time::sleep(REDIRECTION_PAUSE).await,
            sent => return sent,
        }
    }
    send().await
}

fn builder(address: &Address) -> Result<Builder, OpenError> {
    let mut builder = Builder::from_config(Config {
        server: server(address),
        username: address.user.clone(),
        password: address.password.clone(),
        database: address.database().ok().flatten(),
        tls: tls(address)?,
        fail_fast: true,
        ..Config::default()
    });
    builder.set_policy(ReconnectPolicy::new_exponential(0, RECONNECT.0, RECONNECT.1, 2));
    builder.set_performance_config(PerformanceConfig {
        default_command_timeout: COMMAND_TIMEOUT,
        broadcast_channel_capacity: QUEUED_MESSAGES,
        ..PerformanceConfig::default()
    });
    builder.set_connection_config(ConnectionConfig {
        connection_timeout: CONNECT_TIMEOUT,
        internal_command_timeout: CONNECT_TIMEOUT,
        max_command_buffer_len: QUEUED_COMMANDS,
        // The driver follows ASK by a command of its own whose answer it takes for the next one on
        // the connection: with others in flight, each caller then gets another's answer.
        max_redirections: 0,
        // A server that is there but does not answer, as after SIGSTOP or a lost route.
        unresponsive: UnresponsiveConfig { max_timeout: Some(3 * COMMAND_TIMEOUT), interval: COMMAND_TIMEOUT / 2 },
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        // Said by a primary that was demoted: the next connection finds the new one.
        reconnect_errors: vec![ReconnectError::ReadOnly, ReconnectError::MasterDown],
        ..ConnectionConfig::default()
    });
    Ok(builder)
}

fn server(address: &Address) -> ServerConfig {
    let mut hosts: Vec<_> = address.hosts.iter().map(|(host, port)| Server::new(host.as_str(), *port)).collect();
    match (address.topology, &address.socket) {
        (Topology::Standalone, Some(path)) => ServerConfig::Unix { path: path.into() },
        (Topology::Standalone, None) => ServerConfig::Centralized { server: hosts.swap_remove(0) },
        (Topology::Sentinel, _) => ServerConfig::Sentinel {
            hosts,
            service_name: address.name.clone().unwrap_or_default(),
            username: address.sentinel_user.clone(),
            password: address.sentinel_password.clone(),
        },
        (Topology::Cluster, _) => ServerConfig::Clustered { hosts, policy: ClusterDiscoveryPolicy::default() },
    }
}

fn tls(address: &Address) -> Result<Option<TlsConfig>, OpenError> {
    if !address.tls {
        return Ok(None);
    }
    let path = address.authorities.clone();
    let refused = |detail: String| OpenError::Certificates { path: path.clone().unwrap_or_default(), detail };
    let Some(file) = &address.authorities else {
        let connector = TlsConnector::default_rustls().map_err(|error| refused(error.to_string()))?;
        return Ok(Some(connector.into()));
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| refused(error.to_string()))? {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("it holds no certificate".to_owned()));
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Some(TlsConnector::from(config).into()))
}
