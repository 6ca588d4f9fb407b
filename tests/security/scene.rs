//! A real server with an honest client, which has to be served whatever others do, and the server to
//! be as idle afterwards as it was before. How long others do it is `SOAK_SECONDS`, read here alone.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::honest_client::HonestClient;
use super::server_process::ServerProcess;

/// Far more than a flood takes, and less than any takes for which there is no limit.
const MOST_GROWTH_KIB: u64 = 64 << 10;
/// What an answer to a batch takes, of which 32 are held at most.
pub(crate) const MOST_GROWTH_OF_BATCHES_KIB: u64 = 160 << 10;
/// Short, so that what it ends is seen to end.
pub(crate) const PEER_TIMEOUT: Duration = Duration::from_secs(6);
/// The same, of handshakes; peers have all the time in the world there.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// A loaded machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long each flood lasts at the least.
pub(crate) fn soak() -> Duration {
    let seconds = env::var("SOAK_SECONDS").map(|seconds| seconds.parse().expect("SOAK_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(3))
}

/// A server, what it was like when only honest clients were there, and these: one that calls all the
/// time, from a process of its own, and one that a test may call by.
pub(crate) struct Scene {
    pub(crate) server: ServerProcess,
    honest: HonestClient,
    pub(crate) tokens: TokenServiceClient<Channel>,
    endpoint: Endpoint,
    memory_kib: u64,
    pub(crate) most_growth_kib: u64,
    sockets: usize,
    _directory: TempDir,
}

impl Scene {
    pub(crate) async fn new(max_connections: usize) -> Self {
        Self::with_patience(max_connections, PEER_TIMEOUT).await
    }

    /// One whose peers may be silent for longer.
    pub(crate) async fn with_patience(max_connections: usize, peer_timeout: Duration) -> Self {
        let directory = TempDir::new().expect("a directory");
        let timeout = peer_timeout.as_secs();
        let text = format!("[server]\nmax_connections = {max_connections}\npeer_timeout = \"{timeout}s\"\n");
        let server = start(&directory, &text);
        let url = server.endpoint();
        Self::of(server, &url, None, directory).await
    }

    /// A server that demands certificates, and clients that have one.
    pub(crate) async fn over_tls() -> Self {
        let directory = TempDir::new().expect("a directory");
        let made = Command::new(env!("CARGO_BIN_EXE_token-authority")).arg("dev-certs").arg(directory.path()).output();
        assert!(made.expect("the binary runs").status.success());
        let read = |name| fs::read_to_string(directory.path().join(name)).expect("made");
        let timeout = format!("[server]\nhandshake_timeout = \"{}s\"\n", HANDSHAKE_TIMEOUT.as_secs());
        let server = start(&directory, &format!("{timeout}{}", read("server.toml")));
        let (url, certificates) = (format!("https://{}", server.grpc()), directory.path().to_owned());
        Self::of(server, &url, Some(&certificates), directory).await
    }

    async fn of(server: ServerProcess, url: &str, certificates: Option<&Path>, directory: TempDir) -> Self {
        let honest = HonestClient::start(url, certificates);
        let endpoint = endpoint(url, certificates);
        let mut tokens = TokenServiceClient::new(endpoint.connect().await.expect("connects"));
        serves(&mut tokens).await;
        let (memory_kib, sockets) = (memory_kib(&server), sockets(&server));
        let most_growth_kib = MOST_GROWTH_KIB;
        Self { server, honest, tokens, endpoint, memory_kib, most_growth_kib, sockets, _directory: directory }
    }

    /// How to connect another client.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Runs a flood beside the honest client, again and again until `soak` is over. Returns how its last
    /// run ended.
    pub(crate) async fn survives<T, F>(&mut self, name: &str, flood: impl Fn() -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.honest.report();
        let (begun, before) = (Instant::now(), memory_kib(&self.server));
        let mut peak = before;
        let ended = loop {
            let hostile = tokio::task::spawn(flood());
            while !hostile.is_finished() {
                peak = peak.max(memory_kib(&self.server));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let ended = hostile.await.expect("ends");
            if begun.elapsed() >= soak() {
                break ended;
            }
        };
        let report = self.honest.report();
        let after = memory_kib(&self.server);
        println!(
            "{name}: {} honest calls in {:.1?}, p99 {:.1?}, slowest {:.1?}; RSS {before} KiB before, {peak} at most, \
             {after} after",
            report.calls,
            begun.elapsed(),
            report.p99,
            report.slowest,
        );
        assert!(report.calls >= 10, "{name}: {report:?}");
        let grown = peak.saturating_sub(self.memory_kib);
        assert!(grown < self.most_growth_kib, "{name}: {grown} KiB");
        ended
    }

    /// Waits until no connection is open but the honest clients'.
    pub(crate) async fn is_idle_again(&self, name: &str) {
        let begun = Instant::now();
        let open = loop {
            let open = sockets(&self.server);
            if open <= self.sockets {
                break open;
            }
            assert!(begun.elapsed() < PATIENCE, "{name}: {open} sockets are open");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(open, self.sockets, "{name}: an honest connection was closed");
    }

    /// Stops at once: nothing that the floods began is still under way.
    pub(crate) async fn ends(self) {
        let Self { mut server, honest, tokens, .. } = self;
        honest.end();
        drop(tokens);
        let begun = Instant::now();
        let stopped = tokio::task::spawn_blocking(move || (server.terminate(), server.stderr_lines()));
        let (status, lines) = stopped.await.expect("stops");
        assert!(status.success(), "{status:?}");
        assert!(begun.elapsed() < Duration::from_secs(4), "calls or connections were left: {:?}", begun.elapsed());
        assert!(!lines.iter().any(|line| line.contains("did not finish")), "{lines:?}");
    }
}

fn start(directory: &TempDir, config: &str) -> ServerProcess {
    let file = directory.path().join("server.toml");
    fs::write(&file, config).expect("writes");
    ServerProcess::start(&["--config", file.to_str().expect("UTF-8")])
}

fn memory_kib(server: &ServerProcess) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Connections that the server has open. The kernel's list of them and not the process's handles, which
/// only root may look at.
fn sockets(server: &ServerProcess) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let ports = [server.grpc(), server.http()].map(|address| format!(":{:04X}", address.port()));
    let open = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [local, state, inode] = [words[1], words[3], words[9]];
        // Neither one that listens nor one that no process holds any more.
        let is_open = ports.iter().any(|port| local.ends_with(port)) && state != "0A" && inode != "0";
        is_open.then(|| inode.to_owned())
    };
    // While many come and go, one may be listed twice.
    table.lines().skip(1).filter_map(open).collect::<BTreeSet<_>>().len()
}

/// How to connect to a server, with the certificates that `dev-certs` made in a directory.
pub(crate) fn endpoint(url: &str, certificates: Option<&Path>) -> Endpoint {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    let Some(directory) = certificates else { return endpoint };
    let read = |name| fs::read_to_string(directory.join(name)).expect("made");
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.pem")))
        .identity(Identity::from_pem(read("client.pem"), read("client-key.pem")));
    endpoint.tls_config(tls).expect("certificates")
}

/// Makes one call.
pub(crate) async fn serves(tokens: &mut TokenServiceClient<Channel>) {
    let request = v1::IntrospectTokenRequest { token: "x".into(), ..Default::default() };
    let call = tokio::time::timeout(Duration::from_secs(10), tokens.introspect_token(request)).await;
    assert!(!call.expect("in time").expect("served").into_inner().active);
}

pub(crate) async fn is_ready(http: SocketAddr) -> bool {
    let mut probe = TcpStream::connect(http).await.expect("connects");
    probe.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.expect("reads");
    answer.starts_with("HTTP/1.1 200")
}

/// Waits until the server has closed a connection of which nothing is read otherwise.
pub(crate) async fn closed(stream: &mut TcpStream) {
    let mut sink = [0; 4096];
    let end = async { while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, end).await.expect("closed in time");
}
