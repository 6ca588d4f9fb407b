//! A server in this process, on free ports, a store of its own and a clock that the test turns.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use token_authority::app::{ReloadError, Server};
use token_authority::authority::ports::Clock;
use token_authority::config::Config;
use token_authority::domain::ids::RealmName;
use token_authority::domain::policy::RealmPolicy;
use token_authority::domain::time::Timestamp;
use token_authority::proto::v1;
use token_authority::proto::v1::key_service_client::KeyServiceClient;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::system::SystemEntropy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::backend::Backend;

/// A clock that stands until it is turned.
#[derive(Debug)]
pub(crate) struct TurnableClock(AtomicI64);

impl Clock for TurnableClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

fn clock_at(time: Duration) -> Arc<TurnableClock> {
    Arc::new(TurnableClock(AtomicI64::new(i64::try_from(time.as_millis()).expect("a time of ours"))))
}

/// When tests begin unless they say otherwise.
const BEGINNING: Duration = Duration::from_secs(1_800_000_000);

/// A running server with clients.
pub(crate) struct TestServer {
    pub(crate) tokens: TokenServiceClient<Channel>,
    pub(crate) sessions: SessionServiceClient<Channel>,
    pub(crate) keys: KeyServiceClient<Channel>,
    server: Option<Server>,
    config: Config,
    clock: Arc<TurnableClock>,
    backend: Arc<Backend>,
    /// Of requests that name none.
    realm: String,
}

#[allow(dead_code, reason = "a vocabulary for tests, which need not use every word at a time")]
impl TestServer {
    /// With the default realm.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With the default realm's policy changed.
    pub(crate) async fn start_with(change: impl FnOnce(&mut RealmPolicy)) -> Self {
        Self::start_configured(|config| change(config.realms.first_mut().expect("the default realm"))).await
    }

    /// With the configuration changed.
    pub(crate) async fn start_configured(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(Backend::start().await, "", change).await
    }

    /// The same on a store of the test's choice; requests that name no realm are for this one.
    pub(crate) async fn start_on(backend: Backend, realm: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::open(Arc::new(backend), clock_at(BEGINNING), realm.to_owned(), change).await
    }

    /// With the clock at a time since 1970.
    pub(crate) async fn start_at(time: Duration) -> Self {
        Self::open(Arc::new(Backend::start().await), clock_at(time), String::new(), |_| {}).await
    }

    /// Stops the server.
    pub(crate) async fn stop(mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Stops the server and starts another on the same store.
    pub(crate) async fn restart(self) -> Self {
        self.restart_configured(|_| {}).await
    }

    /// The same with the configuration changed.
    pub(crate) async fn restart_configured(mut self, change: impl FnOnce(&mut Config)) -> Self {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        Self::open(self.backend.clone(), self.clock.clone(), self.realm.clone(), change).await
    }

    /// Starts another server on the same store, as the same issuer.
    pub(crate) async fn beside(&self) -> Self {
        self.beside_configured(|_| {}).await
    }

    /// The same with the configuration changed.
    pub(crate) async fn beside_configured(&self, change: impl FnOnce(&mut Config)) -> Self {
        let issuer = format!("http://{}", self.http());
        let change = |config: &mut Config| {
            config.public_url = Some(issuer);
            change(config);
        };
        Self::open(self.backend.clone(), self.clock.clone(), self.realm.clone(), change).await
    }

    async fn open(
        backend: Arc<Backend>,
        clock: Arc<TurnableClock>,
        realm: String,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::on_free_ports(Path::new("unused"));
        backend.configure(&mut config);
        change(&mut config);
        let server = Server::start_with(config.clone(), clock.clone(), Arc::new(SystemEntropy)).await.expect("starts");
        let channel = Channel::from_shared(format!("http://{}", server.grpc_address())).expect("an address");
        let channel = channel.connect().await.expect("connects");
        Self {
            tokens: TokenServiceClient::new(channel.clone()),
            sessions: SessionServiceClient::new(channel.clone()),
            keys: KeyServiceClient::new(channel),
            server: Some(server),
            config,
            clock,
            backend,
            realm,
        }
    }

    /// Has the server take a changed configuration while it runs.
    pub(crate) async fn reload(&self, change: impl FnOnce(&mut Config)) -> Result<Vec<RealmName>, ReloadError> {
        let mut config = self.config.clone();
        change(&mut config);
        self.server.as_ref().expect("running").reload(config).await
    }

    pub(crate) fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).expect("a short time");
        self.clock.0.fetch_add(millis, Ordering::SeqCst);
    }

    #[allow(dead_code, reason = "for clients that share the server's time")]
    pub(crate) fn clock(&self) -> Arc<TurnableClock> {
        self.clock.clone()
    }

    /// The realm of requests that name none.
    pub(crate) fn realm(&self) -> String {
        self.realm.clone()
    }

    /// What it keeps its data in, also after it has stopped.
    pub(crate) fn backend(&self) -> Arc<Backend> {
        self.backend.clone()
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        self.server.as_ref().expect("running").grpc_address()
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.server.as_ref().expect("running").http_address()
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.http()).await.expect("connects");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    /// Logs a subject in on a device.
    pub(crate) async fn login(&self, subject: &str, device: &str) -> v1::TokenPair {
        let request = v1::IssueTokenRequest {
            subject: subject.to_owned(),
            device: Some(v1::Device { device_id: device.to_owned(), ..v1::Device::default() }),
            ..v1::IssueTokenRequest::default()
        };
        self.issue(request).await.expect("issues")
    }

    pub(crate) async fn issue(&self, mut request: v1::IssueTokenRequest) -> Result<v1::TokenPair, Status> {
        if request.realm.is_empty() {
            request.realm = self.realm();
        }
        let answer = self.tokens.clone().issue_token(request).await?;
        Ok(answer.into_inner().tokens.expect("tokens"))
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Result<v1::TokenPair, Status> {
        let (realm, refresh_token) = (self.realm(), refresh_token.to_owned());
        let request = v1::RefreshTokenRequest { realm, refresh_token, ..v1::RefreshTokenRequest::default() };
        let answer = self.tokens.clone().refresh_token(request).await?;
        Ok(answer.into_inner().tokens.expect("tokens"))
    }

    pub(crate) async fn introspect(&self, token: &str) -> v1::IntrospectTokenResponse {
        let (realm, token) = (self.realm(), token.to_owned());
        let request = v1::IntrospectTokenRequest { realm, token, ..v1::IntrospectTokenRequest::default() };
        self.tokens.clone().introspect_token(request).await.expect("answers").into_inner()
    }

    pub(crate) async fn revoke(&self, token: &str) -> v1::RevokeTokenResponse {
        let (realm, token) = (self.realm(), token.to_owned());
        let request = v1::RevokeTokenRequest { realm, token, ..v1::RevokeTokenRequest::default() };
        self.tokens.clone().revoke_token(request).await.expect("revokes").into_inner()
    }

    pub(crate) async fn sessions_of(&self, subject: &str) -> Vec<v1::Session> {
        let (realm, subject) = (self.realm(), subject.to_owned());
        let request = v1::ListSessionsRequest { realm, subject, ..v1::ListSessionsRequest::default() };
        self.sessions.clone().list_sessions(request).await.expect("lists").into_inner().sessions
    }
}

#[allow(dead_code, reason = "a vocabulary for tests, which need not use every word at a time")]
/// The code and reason of a refusal; it has exactly one `ErrorInfo`, of our domain.
pub(crate) fn refusal(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "token-authority");
    (status.code(), info.reason)
}
