//! What a server is told: a file, then the environment, then flags, each value parsed before a port
//! is bound. Knows what is allowed and where each value came from; opens nothing.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::ids::RealmName;
use crate::domain::one_time_code::CodeDelivery;
use crate::domain::policy::RealmPolicy;
use crate::verify::client::RegisteredClient;

mod claims;
mod client;
mod connections;
mod devices;
mod document;
mod environment;
mod kubernetes;
mod layers;
mod listeners;
mod messages;
mod otp;
mod problem;
mod rate_limits;
mod reader;
mod realm;
mod realm_keys;
mod realms;
mod store_url;
mod tls;
mod traces;
mod value;

#[cfg(test)]
mod policy_document_tests;
#[cfg(test)]
mod tests;

pub use connections::ConnectionLimits;
pub use environment::Environment;
pub use kubernetes::{KeySetSource, KubernetesConfig};
pub use problem::{ConfigError, Origin, Problem};
pub use store_url::{RedisUrl, StoreUrl};
pub use tls::{TlsConfig, TlsFlags, TlsMode};
pub use traces::{TraceConfig, TraceRatio};
pub(crate) use traces::{otlp_endpoint_flag, trace_ratio_flag};
pub(crate) use value::{log_level_flag, public_url_flag};

use layers::Layers;
use listeners::Addresses;

/// The realm that always exists.
pub const DEFAULT_REALM: &str = "default";
/// What a realm that says nothing else calls a client that was not named.
const DEFAULT_CLIENT: &str = "cli";

/// The clients of each realm, by its name.
pub type Registered = BTreeMap<RealmName, Vec<RegisteredClient>>;

/// Everything that a server is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where gRPC listens; port 0 for any free one.
    pub grpc: SocketAddr,
    /// Where HTTP listens; port 0 for any free one.
    pub http: SocketAddr,
    /// Where gRPC health alone listens, in plaintext, for probes that have no certificate.
    pub health: Option<SocketAddr>,
    /// Base of the issuers and of the URLs in discovery documents, without a slash at its end;
    /// `None`: the HTTP address.
    pub public_url: Option<String>,
    /// Who may reach the listeners.
    pub exposure: Exposure,
    /// As whom calls act that prove nobody; `None`: as the operator, in realms without clients. Where
    /// others than this machine's own processes can call, always as nobody, unless the exposure says so.
    pub anonymous: Option<AnonymousCalls>,
    /// The listeners' TLS; `None`: plaintext.
    pub tls: Option<TlsConfig>,
    /// How many connections are open, and how slow their peers may be.
    pub connections: ConnectionLimits,
    /// Where sessions, keys and revocations are.
    pub store: StoreUrl,
    /// What to do with a Redis that may lose what it acknowledged.
    pub store_safety: StoreSafety,
    /// How long introspection answers from memory while the store is not heard of.
    pub max_staleness: Duration,
    /// The file with the key-encryption key; `None`: `kek` in the embedded store's directory.
    pub encryption_key_file: Option<PathBuf>,
    /// The file with the key before it, which opens the store until it was sealed anew.
    pub previous_encryption_key_file: Option<PathBuf>,
    /// What to do when the first of them is missing.
    pub create_key: CreateKey,
    /// The policy of each realm, `default` among them, by name.
    pub realms: Vec<RealmPolicy>,
    /// The clients of each realm that has any.
    pub clients: Registered,
    /// Whose service accounts may be clients, if any.
    pub kubernetes: Option<KubernetesConfig>,
    /// How logs are written.
    pub log: LogConfig,
    /// Where traces go.
    pub traces: TraceConfig,
}

/// Who may reach the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposure {
    /// Only processes on this machine in plaintext; anybody over TLS, who has to prove who he is.
    #[default]
    LoopbackOnly,
    /// Whoever the network lets through: the operator said `--insecure`.
    Insecure,
}

/// As whom calls of gRPC act that show no proof of their caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnonymousCalls {
    /// As nobody: they may do what anybody may.
    Nobody,
    /// As the operator, whatever clients a realm has.
    Operator,
}

/// What to do with a Redis that may lose what it acknowledged, or whose clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreSafety {
    /// Refuse to start.
    #[default]
    Required,
    /// Start, with a warning: the operator said `--accept-unsafe-store`.
    Waived,
}

/// What to do when the named key file is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CreateKey {
    /// Refuse to start: a new key can't open what an old one sealed.
    #[default]
    Never,
    /// Make it, with mode 0600: `--dev`.
    IfMissing,
}

/// How logs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// For people or for programs.
    pub format: LogFormat,
    /// Levels, as checked: `info`, or `warn,token_authority=debug`.
    pub level: String,
}

/// For whom logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people: a line of text an event.
    #[default]
    Text,
    /// For programs: a JSON object a line.
    Json,
}

/// What flags say; each wins over environment and file.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--grpc`
    pub grpc: Option<SocketAddr>,
    /// `--http`
    pub http: Option<SocketAddr>,
    /// `--health`
    pub health: Option<SocketAddr>,
    /// `--tls-certificate` and its like
    pub tls: TlsFlags,
    /// `--public-url`
    pub public_url: Option<String>,
    /// `--insecure`
    pub exposure: Option<Exposure>,
    /// `--store`
    pub store: Option<StoreUrl>,
    /// `--accept-unsafe-store`
    pub store_safety: Option<StoreSafety>,
    /// `--key-file`
    pub encryption_key_file: Option<PathBuf>,
    /// `--previous-key-file`
    pub previous_encryption_key_file: Option<PathBuf>,
    /// `--dev`
    pub create_key: CreateKey,
    /// `--realms`
    pub realms: Option<PathBuf>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--otlp-endpoint`
    pub otlp_endpoint: Option<String>,
    /// `--trace-ratio`
    pub trace_ratio: Option<TraceRatio>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            health: None,
            public_url: None,
            exposure: Exposure::default(),
            anonymous: None,
            tls: None,
            connections: ConnectionLimits::default(),
            store: StoreUrl::Embedded(PathBuf::from("./data")),
            store_safety: StoreSafety::default(),
            max_staleness: Duration::from_secs(30),
            encryption_key_file: None,
            previous_encryption_key_file: None,
            create_key: CreateKey::default(),
            realms: realms::with_default(Vec::new()),
            clients: Registered::new(),
            kubernetes: None,
            log: LogConfig { format: LogFormat::default(), level: "info".to_owned() },
            traces: TraceConfig::default(),
        }
    }
}

impl Config {
    /// A server of its own on free ports of this machine, its embedded store in `directory`.
    pub fn on_free_ports(directory: &Path) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { grpc: free, http: free, store: StoreUrl::Embedded(directory.to_owned()), ..Self::default() }
    }

    /// Reads the file that the flags name, the environment, the realm files, and the flags.
    ///
    /// The error lists everything that is wrong, not only what was found first.
    pub fn load(flags: Flags, environment: &Environment) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut layers = Layers::open(flags.config.as_deref(), environment, &mut problems);
        let default = Self::default();

        let grpc = layers.read("server", "grpc", value::address).or_flag(flags.grpc, "--grpc").or_default(default.grpc);
        let http = layers.read("server", "http", value::address).or_flag(flags.http, "--http").or_default(default.http);
        let health = layers.read("server", "health", value::address).or_flag(flags.health, "--health");
        let addresses = Addresses { grpc, http, health };
        let tls = tls::Said::read(&mut layers, flags.tls);
        let public_url =
            layers.read("server", "public_url", value::public_url).or_flag(flags.public_url, "--public-url");
        let exposure = layers.read("server", "insecure", value::exposure).or_flag(flags.exposure, "--insecure");
        let anonymous = layers.read("server", "anonymous", value::anonymous);
        let most = layers.read("server", "max_connections", connections::most);
        let peer_timeout = layers.read("server", "peer_timeout", connections::peer_timeout);
        let handshake_timeout = layers.read("server", "handshake_timeout", connections::handshake_timeout);
        let age = layers.read("server", "connection_age", connections::age);
        let store = layers.read("store", "url", value::store_url).or_flag(flags.store, "--store");
        let safety = layers.read("store", "accept_unsafe", value::store_safety);
        let safety = safety.or_flag(flags.store_safety, "--accept-unsafe-store");
        let max_staleness = layers.read("store", "max_staleness", value::max_staleness);
        let key = layers.read("keys", "encryption_key_file", value::path);
        let key = key.or_flag(flags.encryption_key_file, "--key-file");
        let previous_key = layers.read("keys", "previous_encryption_key_file", value::path);
        let previous_key = previous_key.or_flag(flags.previous_encryption_key_file, "--previous-key-file");
        let directory = layers.read("server", "realms", value::path).or_flag(flags.realms, "--realms");
        let format = layers.read("log", "format", value::log_format).or_flag(flags.log_format, "--log-format");
        let level = layers.read("log", "level", value::log_level).or_flag(flags.log_level, "--log-level");
        let otlp_endpoint = layers.read("telemetry", "otlp_endpoint", traces::endpoint);
        let otlp_endpoint = otlp_endpoint.or_flag(flags.otlp_endpoint, "--otlp-endpoint");
        let ratio = layers.read("telemetry", "trace_ratio", traces::ratio).or_flag(flags.trace_ratio, "--trace-ratio");

        let kubernetes = kubernetes::Said::read(&mut layers);

        let own_realm = layers.realm();
        layers.finish();
        let exposure = exposure.value.unwrap_or_default();
        addresses.check(exposure, tls.modes(), &mut problems);
        addresses.check_anonymous(&anonymous, exposure, tls.modes().0, &mut problems);
        let tls = tls.complete(&mut problems);
        let kubernetes = kubernetes.complete(&mut problems);
        let (realms, clients) = realms::read(own_realm, directory, &mut problems);
        problems.extend(realms.iter().filter(|policy| logs_codes(policy, flags.create_key)).map(|policy| Problem {
            origin: Origin::Flag("--dev"),
            message: format!("realm {}: otp.delivery = \"log\" is for development, with --dev alone", policy.realm),
        }));
        if !problems.is_empty() {
            problems.sort_by(|a, b| a.origin.place().cmp(&b.origin.place()));
            return Err(ConfigError(problems));
        }
        Ok(Self {
            grpc: addresses.grpc.value.unwrap_or(default.grpc),
            http: addresses.http.value.unwrap_or(default.http),
            health: addresses.health.value,
            public_url: public_url.value,
            exposure,
            anonymous: anonymous.value,
            tls,
            connections: ConnectionLimits {
                most: most.value.unwrap_or(default.connections.most),
                peer_timeout: peer_timeout.value.unwrap_or(default.connections.peer_timeout),
                handshake_timeout: handshake_timeout.value.unwrap_or(default.connections.handshake_timeout),
                age: age.value.unwrap_or(default.connections.age),
            },
            store: store.value.unwrap_or(default.store),
            store_safety: safety.value.unwrap_or_default(),
            max_staleness: max_staleness.value.unwrap_or(default.max_staleness),
            encryption_key_file: key.value,
            previous_encryption_key_file: previous_key.value,
            create_key: flags.create_key,
            realms,
            clients,
            kubernetes,
            log: LogConfig {
                format: format.value.unwrap_or(default.log.format),
                level: level.value.unwrap_or(default.log.level),
            },
            traces: TraceConfig {
                otlp_endpoint: otlp_endpoint.value,
                ratio: ratio.value.unwrap_or(default.traces.ratio),
            },
        })
    }

    /// Whether the operator vouches for whoever reaches the listeners.
    pub fn lets_strangers_in(&self) -> bool {
        self.exposure == Exposure::Insecure
    }

    /// Whether nobody but this machine's own processes can reach gRPC, which then speaks plaintext.
    pub fn grpc_is_local(&self) -> bool {
        listeners::is_local(self.grpc, self.tls.as_ref().map_or(TlsMode::Off, |tls| tls.grpc))
    }

    /// The names of the realms.
    pub fn realm_names(&self) -> impl Iterator<Item = &RealmName> {
        self.realms.iter().map(|policy| &policy.realm)
    }
}

/// Whether the realm would write codes into the log of a server that is not for development.
fn logs_codes(policy: &RealmPolicy, create_key: CreateKey) -> bool {
    let logs = policy.codes.as_ref().is_some_and(|codes| codes.delivery == CodeDelivery::Log);
    logs && create_key == CreateKey::Never
}
