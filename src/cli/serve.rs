//! `serve`: flags over environment over file, a banner, and the server until a signal comes.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::app::{self, Server};
use crate::config::{
    self, Config, CreateKey, Environment, Exposure, Flags, LogFormat, StoreSafety, StoreUrl, TlsFlags, TlsMode,
    TraceRatio,
};
use crate::domain::ids::RealmName;
use crate::system;
use crate::telemetry::Telemetry;

use super::failure::{Exit, Failure};
use super::{Streams, block_on_all_cores};

/// Run the server
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Configuration file, or a realm file; deploy/token-authority.toml shows every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where gRPC listens [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    grpc: Option<SocketAddr>,
    /// Where HTTP listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where gRPC health alone listens, in plaintext [default: nowhere but on --grpc]
    #[arg(long, value_name = "ADDR")]
    health: Option<SocketAddr>,
    /// The server's certificate and its chain, PEM [default: none, and no TLS]
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Authorities of clients' certificates, PEM; clients need one unless [tls] says otherwise
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// URL under which clients reach the HTTP side: the issuer [default: http(s):// and that address]
    #[arg(long, value_name = "URL", value_parser = config::public_url_flag)]
    public_url: Option<String>,
    /// Where the store is: embedded:DIR, or a Redis (redis://HOST:PORT, …) [default: embedded:./data]
    #[arg(long, value_name = "URL")]
    store: Option<StoreUrl>,
    /// Start on a Redis that evicts, has no AOF, is too old or whose clock is wrong
    #[arg(long)]
    accept_unsafe_store: bool,
    /// File with the key-encryption key [default: `kek` in the embedded store's directory; Redis needs one]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with the key before it, while it is exchanged
    #[arg(long, value_name = "FILE")]
    previous_key_file: Option<PathBuf>,
    /// Make the key file if it is missing
    #[arg(long)]
    dev: bool,
    /// Directory of realm files
    #[arg(long, value_name = "DIR")]
    realms: Option<PathBuf>,
    /// Listen beyond this machine though no client certificate is required
    #[arg(long)]
    insecure: bool,
    /// How logs are written, on standard error [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = log_format())]
    log_format: Option<LogFormat>,
    /// off, error, warn, info, debug, trace, or a list such as warn,token_authority=debug [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = config::log_level_flag)]
    log_level: Option<String>,
    /// OpenTelemetry collector that takes traces, OTLP over gRPC [default: none]
    #[arg(long, value_name = "URL", value_parser = config::otlp_endpoint_flag)]
    otlp_endpoint: Option<String>,
    /// Part of the calls that start a trace, 0 to 1 [default: 0.01]
    #[arg(long, value_name = "RATIO", value_parser = config::trace_ratio_flag)]
    trace_ratio: Option<TraceRatio>,
}

impl Serve {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        system::keep_memory_private()?;
        let config = Config::load(self.into(), &Environment::of_process())?;
        block_on_all_cores(async {
            let telemetry = Telemetry::start(&config.log, &config.traces).map_err(Failure::refused)?;
            let said = Banner::of(&config);
            let end = app::termination().map_err(Failure::refused)?;
            let server = Server::start(config).await.map_err(Failure::refused)?;
            // A server whose standard error nobody reads serves all the same.
            let _ = said.write(streams.err, &server);
            server.run_until(end).await;
            telemetry.finish().await;
            Ok(Exit::Done)
        })
    }
}

impl From<Serve> for Flags {
    fn from(serve: Serve) -> Self {
        Self {
            config: serve.config,
            grpc: serve.grpc,
            http: serve.http,
            health: serve.health,
            tls: TlsFlags { certificate: serve.tls_certificate, key: serve.tls_key, client_ca: serve.tls_client_ca },
            public_url: serve.public_url,
            exposure: serve.insecure.then_some(Exposure::Insecure),
            store: serve.store,
            store_safety: serve.accept_unsafe_store.then_some(StoreSafety::Waived),
            encryption_key_file: serve.key_file,
            previous_encryption_key_file: serve.previous_key_file,
            create_key: if serve.dev { CreateKey::IfMissing } else { CreateKey::Never },
            realms: serve.realms,
            log_format: serve.log_format,
            log_level: serve.log_level,
            otlp_endpoint: serve.otlp_endpoint,
            trace_ratio: serve.trace_ratio,
        }
    }
}

fn log_format() -> impl TypedValueParser<Value = LogFormat> {
    PossibleValuesParser::new(["text", "json"]).map(|name| match name.as_str() {
        "json" => LogFormat::Json,
        _ => LogFormat::Text,
    })
}

/// What a person who starts a server wants to know. Programs get its last line alone.
struct Banner {
    store: String,
    realms: String,
    exposure: Exposure,
    grpc_tls: TlsMode,
    format: LogFormat,
}

impl Banner {
    fn of(config: &Config) -> Self {
        let realms: Vec<_> = config.realm_names().map(RealmName::as_str).collect();
        Self {
            store: config.store.to_string(),
            realms: realms.join(", "),
            exposure: config.exposure,
            grpc_tls: config.tls.as_ref().map_or(TlsMode::Off, |tls| tls.grpc),
            format: config.log.format,
        }
    }

    fn write(&self, err: &mut dyn Write, server: &Server) -> std::io::Result<()> {
        let (grpc, http) = (server.grpc_address(), server.http_address());
        if self.format == LogFormat::Text {
            writeln!(err, "Token Authority {}", env!("CARGO_PKG_VERSION"))?;
            writeln!(err, "  store   {}", self.store)?;
            writeln!(err, "  realms  {}", self.realms)?;
            if self.exposure == Exposure::Insecure && self.grpc_tls != TlsMode::Mutual {
                writeln!(err, "  WARNING --insecure: whoever reaches these ports can issue tokens")?;
            }
            writeln!(err, "  try     token-authority token issue --subject alice{}", self.client_flags(grpc))?;
        }
        // One line of fixed form, once all ports serve: scripts wait for it and read free ports from it.
        write!(err, "listening grpc={grpc} http={http}")?;
        match server.health_address() {
            Some(health) => writeln!(err, " health={health}"),
            None => writeln!(err),
        }
    }

    /// What a client has to add to reach this server.
    fn client_flags(&self, grpc: SocketAddr) -> String {
        let mut reachable = grpc;
        if grpc.ip().is_unspecified() {
            reachable.set_ip(if grpc.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
        }
        match self.grpc_tls {
            TlsMode::Off if reachable == Config::default().grpc => String::new(),
            TlsMode::Off => format!(" --endpoint http://{reachable}"),
            TlsMode::Server | TlsMode::Optional => format!(" --endpoint https://{reachable} --ca FILE"),
            TlsMode::Mutual => format!(" --endpoint https://{reachable} --ca FILE --cert FILE --key FILE"),
        }
    }
}
