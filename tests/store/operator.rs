//! What an operator does with a store: runs a command on it, or a server. Knows no kind of store.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use token_authority::app::Server;
use token_authority::config::{Config, StoreSafety, StoreUrl};
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tonic::transport::Channel;

use super::fixtures::fresh;

/// Runs the binary, away from the developer's environment.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_token-authority"));
    command.args(arguments).env_clear().output().expect("the binary runs")
}

/// What a command that succeeded answered.
#[track_caller]
pub(crate) fn answer(arguments: &[&str]) -> Value {
    let ended = run(arguments);
    assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

/// What a command that was refused said.
#[track_caller]
pub(crate) fn refusal(arguments: &[&str]) -> String {
    let ended = run(arguments);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(1), &b""[..]), "{arguments:?}: {said}");
    said
}

/// A server on a store, and a client of it.
pub(crate) struct Served {
    server: Server,
    tokens: TokenServiceClient<Channel>,
}

impl Served {
    pub(crate) async fn on(store: &str, key: Option<&Path>) -> Self {
        let mut config = Config::on_free_ports(Path::new("unused"));
        config.store = StoreUrl::parse(store).expect("a URL");
        config.store_safety = StoreSafety::Required;
        config.encryption_key_file = key.map(Path::to_owned);
        // The same issuer, wherever it runs.
        config.public_url = Some("https://login.test".to_owned());
        let server = Server::start(config).await.expect("starts");
        let address = format!("http://{}", server.grpc_address());
        Self { tokens: TokenServiceClient::connect(address).await.expect("connects"), server }
    }

    pub(crate) async fn stop(self) {
        drop(self.tokens);
        self.server.stop().await;
    }

    pub(crate) async fn login(&mut self, subject: &str) -> v1::TokenPair {
        let request = v1::IssueTokenRequest { subject: subject.to_owned(), ..Default::default() };
        self.tokens.issue_token(request).await.expect("issues").into_inner().tokens.expect("tokens")
    }

    pub(crate) async fn refresh(&mut self, pair: &v1::TokenPair) -> Result<v1::TokenPair, tonic::Status> {
        let request = v1::RefreshTokenRequest { refresh_token: pair.refresh_token.clone(), ..Default::default() };
        Ok(self.tokens.refresh_token(request).await?.into_inner().tokens.expect("tokens"))
    }

    pub(crate) async fn is_active(&mut self, pair: &v1::TokenPair) -> bool {
        let request = v1::IntrospectTokenRequest { token: pair.access_token.clone(), ..Default::default() };
        self.tokens.introspect_token(request).await.expect("answers").into_inner().active
    }

    pub(crate) async fn revoke(&mut self, pair: &v1::TokenPair) {
        let request = v1::RevokeTokenRequest { token: pair.access_token.clone(), ..Default::default() };
        self.tokens.revoke_token(request).await.expect("revokes");
    }
}

pub(crate) fn key_file(directory: &TempDir, name: &str) -> PathBuf {
    let path = directory.path().join(name);
    let hex: String = fresh().iter().chain(&fresh()).map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(&path, hex).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    path
}
