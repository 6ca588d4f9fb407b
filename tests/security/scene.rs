//! A real server with an honest client, which has to be served whatever others do, and the server to
//! be as idle afterwards as it was before.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

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

/// A server, what it was like when only the honest client was there, and that client.
pub(crate) struct Scene {
    pub(crate) server: ServerProcess,
    pub(crate) tokens: TokenServiceClient<Channel>,
    endpoint: Endpoint,
    memory_kib: u64,
    pub(crate) most_growth_kib: u64,
    sockets: usize,
    _directory: TempDir,
}

impl Scene {
    pub(crate) async fn new(max_connections: usize) -> Self {
        let directory = TempDir::new().expect("a directory");
        let timeout = PEER_TIMEOUT.as_secs();
        let text = format!("[server]\nmax_connections = {max_connections}\npeer_timeout = \"{timeout}s\"\n");
        let server = start(&directory, &text);
        let endpoint = Endpoint::from_shared(server.endpoint()).expect("an address");
        Self::of(server, endpoint, directory).await
    }

    /// A server that demands certificates, and a client that has one.
    pub(crate) async fn over_tls() -> Self {
        let directory = TempDir::new().expect("a directory");
        let made = Command::new(env!("CARGO_BIN_EXE_token-authority")).arg("dev-certs").arg(directory.path()).output();
        assert!(made.expect("the binary runs").status.success());
        let read = |name| fs::read_to_string(directory.path().join(name)).expect("made");
        let timeout = format!("[server]\nhandshake_timeout = \"{}s\"\n", HANDSHAKE_TIMEOUT.as_secs());
        let server = start(&directory, &format!("{timeout}{}", read("server.toml")));
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem")))
            .identity(Identity::from_pem(read("client.pem"), read("client-key.pem")));
        let endpoint = Endpoint::from_shared(format!("https://{}", server.grpc())).expect("an address");
        Self::of(server, endpoint.tls_config(tls).expect("certificates"), directory).await
    }

    async fn of(server: ServerProcess, endpoint: Endpoint, directory: TempDir) -> Self {
        let mut tokens = TokenServiceClient::new(endpoint.connect().await.expect("connects"));
        honest(&mut tokens).await;
        let (memory_kib, sockets) = (memory_kib(&server), sockets(&server));
        let most_growth_kib = MOST_GROWTH_KIB;
        Self { server, tokens, endpoint, memory_kib, most_growth_kib, sockets, _directory: directory }
    }

    /// One that comes now.
    pub(crate) async fn another_client(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.endpoint.connect().await.expect("connects"))
    }

    /// Runs a flood beside the honest client, which is served by gRPC and HTTP until it ends, and at
    /// least ten times.
    pub(crate) async fn survives<T: Send + 'static>(
        &mut self,
        name: &str,
        flood: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let hostile = tokio::task::spawn(flood);
        let (mut calls, mut slowest, mut grown) = (0, Duration::ZERO, 0);
        while !hostile.is_finished() || calls < 10 {
            let begun = Instant::now();
            honest(&mut self.tokens).await;
            (calls, slowest) = (calls + 1, slowest.max(begun.elapsed()));
            grown = grown.max(memory_kib(&self.server).saturating_sub(self.memory_kib));
        }
        println!("{name}: {calls} honest calls, slowest {slowest:?}, grown {grown} KiB");
        assert!(grown < self.most_growth_kib, "{name}: {grown} KiB");
        hostile.await.expect("ends")
    }

    /// Waits until no connection is open but the honest client's.
    pub(crate) async fn is_idle_again(&self, name: &str) {
        let begun = Instant::now();
        while sockets(&self.server) > self.sockets {
            assert!(begun.elapsed() < PATIENCE, "{name}: {} sockets are open", sockets(&self.server));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(sockets(&self.server), self.sockets, "{name}: the honest connection was closed");
    }

    /// Stops at once: nothing that the floods began is still under way.
    pub(crate) async fn ends(self) {
        let Self { mut server, tokens, .. } = self;
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

fn sockets(server: &ServerProcess) -> usize {
    let handles = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("Linux");
    let links = handles.filter_map(|handle| fs::read_link(handle.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

pub(crate) async fn honest(tokens: &mut TokenServiceClient<Channel>) {
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
