//! The example services in other languages, as processes of their own: they check tokens by themselves,
//! by the keys and revocations that they follow. Each test holds both to the same.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tempfile::{NamedTempFile, TempDir};
use token_authority::domain::ids::Sid;
use token_authority::proto::v1;
use token_authority::proto::v1::key_service_client::KeyServiceClient;
use token_authority::proto::v1::revocation_entry::Target;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

use crate::edges::{get, get_with};
use crate::sdk::relay::{Relay, wire};
use crate::server_process::ServerProcess;

const PATIENCE: Duration = Duration::from_secs(20);
const ISSUER: &str = "http://authority.test";
const LANGUAGES: [[&str; 2]; 2] = [
    [".venv/bin/python", "examples/python/protected_service.py"],
    [".venv/bin/node", "examples/node/protected_service.mjs"],
];

#[tokio::test(flavor = "multi_thread")]
async fn they_refuse_what_was_revoked_without_asking() {
    let server = ServerProcess::start(&["--public-url", ISSUER]);
    let services = LANGUAGES.map(|language| Service::start(language, server.grpc(), ISSUER, "60"));
    let authority = Authority::connect(&server).await;
    let witness = authority.issue(orders("witness", "other")).await.access_token;
    all_come_to(200, &services, &witness).await;

    let confirmation = v1::confirmation::Thumbprint::JwkThumbprint("A".repeat(43));
    let confirmation = Some(v1::Confirmation { thumbprint: Some(confirmation) });
    let bound = authority.issue(v1::IssueTokenRequest { confirmation, ..orders("ann", "app") }).await;
    let audience = vec!["mail".to_owned()];
    let elsewhere = authority.issue(v1::IssueTokenRequest { audience, ..orders("ann", "app") }).await;
    let changed = format!("{}AAAAAAAA", &witness[..witness.len() - 8]);
    for service in &services {
        for token in ["", "garbage", "a.b.c", &changed, &bound.access_token, &elsewhere.access_token] {
            assert_eq!(service.status(token).await, 401, "{token}");
        }
    }

    for end in [End::Session, End::Token, End::SessionEpoch, End::SubjectEpoch, End::Client, End::Key, End::Realm] {
        let tokens = authority.issue(end.login()).await;
        all_come_to(200, &services, &tokens.access_token).await;
        authority.end(end, &tokens).await;
        all_come_to(401, &services, &tokens.access_token).await;
        for service in &services {
            let status = if matches!(end, End::Key | End::Realm) { 401 } else { 200 };
            assert_eq!(service.status(&witness).await, status, "a witness of {end:?}");
        }
    }
    all_come_to(200, &services, &authority.issue(orders("ann", "app")).await.access_token).await;
    let (_, metrics) = get(server.http(), "/metrics").await;
    assert!(metrics.contains("TokenService/RevokeToken") && !metrics.contains("Introspect"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_refuse_all_while_the_authority_is_gone_too_long_and_go_on_when_it_is_back() {
    let directory = TempDir::new().expect("a directory");
    let mut server = ServerProcess::start_in(directory.path(), &["--public-url", ISSUER]);
    let address = server.grpc();
    let services = LANGUAGES.map(|language| Service::start(language, address, ISSUER, "4"));
    let authority = Authority::connect(&server).await;
    let (alive, revoked) = (authority.issue(orders("ann", "app")).await, authority.issue(orders("ann", "app")).await);
    authority.end(End::Session, &revoked).await;
    all_come_to(200, &services, &alive.access_token).await;
    all_come_to(401, &services, &revoked.access_token).await;

    server.kill9();
    all_come_to(503, &services, &alive.access_token).await;

    let arguments = ["--public-url", ISSUER, "--grpc", &address.to_string()];
    let server = ServerProcess::start_in(directory.path(), &arguments);
    let authority = Authority::connect(&server).await;
    all_come_to(200, &services, &alive.access_token).await;
    for service in &services {
        assert_eq!(service.status(&revoked.access_token).await, 401);
    }
    authority.end(End::Session, &alive).await;
    all_come_to(401, &services, &alive.access_token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_go_on_where_a_stream_was_cut_and_start_over_after_a_gap() {
    let relay = Relay::start().await;
    let address = relay.address.trim_start_matches("http://").parse().expect("an address");
    let issuer = format!("http://{}", relay.server.http());
    for language in LANGUAGES {
        let service = Service::start(language, address, &issuer, "600");
        let (token, ended) = (relay.login().await, relay.login().await);
        let session = Sid::parse(&ended.session_id).expect("a sid").session.0.to_vec();
        let expire_time = Some(wire(relay.now() + Duration::from_secs(1_000)));
        let end = v1::RevocationEntry { target: Some(Target::Session(session)), expire_time };

        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "");
        assert_eq!(service.status(&token.access_token).await, 503, "nothing is known yet");
        feed.snapshot(Vec::new(), "r0", relay.now());
        service.comes_to(200, &token.access_token).await;
        feed.delta(1, vec![end], "r1", relay.now());
        service.comes_to(401, &ended.access_token).await;
        drop(feed);
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "r1", "what it holds is good to go on from");
        feed.fail(Status::unavailable("resume"));
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "r1", "and after an outage");
        feed.fail(Status::invalid_argument("no revision"));
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "", "what it holds is not known there");

        feed.snapshot(Vec::new(), "r1", relay.now());
        feed.delta(1, Vec::new(), "r2", relay.now());
        feed.delta(3, Vec::new(), "r4", relay.now());
        feed.left().await;
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "", "one is missing");
        feed.delta(1, Vec::new(), "r5", relay.now());
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "", "a change without the snapshot is none");
        feed.snapshot(vec![v1::RevocationEntry::default()], "r6", relay.now());
        assert_eq!(relay.feed().await.after_revision, "", "what can't be read might be anybody's end");
    }
}

/// A way in which tokens end, each with an entry of its own kind.
#[derive(Debug, Clone, Copy)]
enum End {
    Session,
    Token,
    SessionEpoch,
    SubjectEpoch,
    Client,
    Key,
    Realm,
}

impl End {
    /// A login that it ends alone, if it can.
    fn login(self) -> v1::IssueTokenRequest {
        let without_session = matches!(self, Self::Token | Self::SubjectEpoch);
        v1::IssueTokenRequest { without_session, ..orders("ann", "app") }
    }
}

/// A login for the example services.
fn orders(subject: &str, client: &str) -> v1::IssueTokenRequest {
    v1::IssueTokenRequest {
        subject: subject.to_owned(),
        client_id: client.to_owned(),
        audience: vec!["orders".to_owned()],
        ..v1::IssueTokenRequest::default()
    }
}

struct Authority {
    tokens: TokenServiceClient<Channel>,
    sessions: SessionServiceClient<Channel>,
    keys: KeyServiceClient<Channel>,
}

impl Authority {
    async fn connect(server: &ServerProcess) -> Self {
        let channel = Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects");
        Self {
            tokens: TokenServiceClient::new(channel.clone()),
            sessions: SessionServiceClient::new(channel.clone()),
            keys: KeyServiceClient::new(channel),
        }
    }

    async fn issue(&self, request: v1::IssueTokenRequest) -> v1::TokenPair {
        self.tokens.clone().issue_token(request).await.expect("issues").into_inner().tokens.expect("tokens")
    }

    async fn end(&self, end: End, tokens: &v1::TokenPair) {
        let (subject, client_id) = ("ann".to_owned(), "app".to_owned());
        let done = match end {
            End::Session | End::Token => {
                let request = v1::RevokeTokenRequest { token: tokens.access_token.clone(), ..Default::default() };
                self.tokens.clone().revoke_token(request).await.map(drop)
            }
            End::SessionEpoch => {
                let (session_id, claims) = (tokens.session_id.clone(), Some(prost_types::Struct::default()));
                let request = v1::UpdateSessionClaimsRequest {
                    session_id,
                    claims,
                    end_access_tokens: true,
                    ..Default::default()
                };
                self.sessions.clone().update_session_claims(request).await.map(drop)
            }
            End::SubjectEpoch => {
                let request = v1::RevokeAllSessionsRequest { subject, ..Default::default() };
                self.sessions.clone().revoke_all_sessions(request).await.map(drop)
            }
            End::Client => {
                let request = v1::RevokeClientRequest { client_id, ..Default::default() };
                self.tokens.clone().revoke_client(request).await.map(drop)
            }
            End::Key => {
                let request = v1::RevokeKeyRequest { key_id: key_id(&tokens.access_token), ..Default::default() };
                self.keys.clone().revoke_key(request).await.map(drop)
            }
            End::Realm => self.tokens.clone().revoke_realm(v1::RevokeRealmRequest::default()).await.map(drop),
        };
        done.unwrap_or_else(|status| panic!("{end:?}: {status}"));
    }
}

fn key_id(token: &str) -> String {
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok()).expect("a header");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}

/// An example that runs, until it is dropped.
struct Service {
    child: Child,
    address: SocketAddr,
    stderr: NamedTempFile,
}

impl Service {
    fn start([program, script]: [&str; 2], authority: SocketAddr, issuer: &str, max_staleness: &str) -> Self {
        let stderr = NamedTempFile::new().expect("a file");
        let mut child = Command::new(program)
            .args([script, "--authority", &authority.to_string(), "--issuer", issuer, "--audience", "orders"])
            .args(["--port", "0", "--max-staleness", max_staleness])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .stderr(stderr.reopen().expect("the file"))
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: run `make test`, which installs it"));
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        stdout.read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let complaint = || fs::read_to_string(stderr.path()).unwrap_or_default();
        let address = address.unwrap_or_else(|| panic!("{script} did not start: {line}\n{}", complaint()));
        Self { child, address, stderr }
    }

    /// What a request with the token is answered.
    async fn status(&self, token: &str) -> u16 {
        let header = format!("Authorization: Bearer {token}\r\n");
        let (head, _) = get_with(self.address, "/orders", &header).await;
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    async fn comes_to(&self, status: u16, token: &str) {
        let mut seen = 0;
        let come = timeout(PATIENCE, async {
            while seen != status {
                sleep(Duration::from_millis(10)).await;
                seen = self.status(token).await;
            }
        });
        assert!(come.await.is_ok(), "{seen} in place of {status}");
    }
}

impl Drop for Service {
    #[allow(clippy::print_stderr, reason = "a failed test is understood from the service's side too")]
    fn drop(&mut self) {
        // Both fail if the process has ended already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {:?}\n{}", self.address, fs::read_to_string(self.stderr.path()).unwrap_or_default());
        }
    }
}

async fn all_come_to(status: u16, services: &[Service], token: &str) {
    for service in services {
        service.comes_to(status, token).await;
    }
}
