//! Real gateways with the configurations that `deploy/` recommends, in front of a service that says what
//! reached it.

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderValue};
use axum::{Json, Router};
use futures::StreamExt as _;
use tempfile::TempDir;
use token_authority::http::serve;
use token_authority::proto::v1;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;

use crate::test_server::TestServer;
use crate::wire::{Answer, send};

const START: Duration = Duration::from_secs(30);

/// A gateway with what stands before and behind it.
struct Gateway {
    authority: TestServer,
    address: SocketAddr,
    process: Child,
    _directory: TempDir,
    expired: v1::TokenPair,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Gateway {
    async fn start(config: &str, command: impl FnOnce(&Path, &Path) -> Command) -> Self {
        // Gateways go by the machine's clock: what is to have expired was issued back then.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
        let authority = TestServer::start_at(now - Duration::from_secs(2_000)).await;
        let expired = login(&authority, "late", "orders").await;
        authority.pass(Duration::from_secs(2_000));

        let service = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let service_port = service.local_addr().expect("an address").port();
        let connections = TcpListenerStream::new(service).filter_map(|connection| ready(connection.ok()));
        let echoing = serve(connections, Router::new().fallback(echo), START, pending());
        tokio::spawn(echoing);
        let gateway_port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("one").port();

        let directory = TempDir::new().expect("a directory");
        let text = std::fs::read_to_string(root().join(config)).expect("a configuration");
        let text = [
            ("10000", gateway_port),
            ("9000", service_port),
            ("8080", authority.http().port()),
            ("50051", authority.grpc().port()),
        ]
        .iter()
        .fold(text, |text, (written, port)| text.replace(written, &port.to_string()));
        let file = directory.path().join(Path::new(config).file_name().expect("a name"));
        std::fs::write(&file, text).expect("writes");
        let mut command = command(directory.path(), &file);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the gateway can be started");
        let address = SocketAddr::from(([127, 0, 0, 1], gateway_port));
        let mut gateway = Self { authority, address, process, _directory: directory, expired };
        gateway.wait().await;
        gateway
    }

    async fn wait(&mut self) {
        let up = async {
            while TcpStream::connect(self.address).await.is_err() {
                assert!(self.process.try_wait().expect("a status").is_none(), "the gateway has ended");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(START, up).await.expect("the gateway listens in time");
    }

    async fn get(&self, headers: &[(&str, &str)]) -> Answer {
        send(self.address, "GET", "/things", headers, "").await
    }

    async fn bearer(&self, tokens: &v1::TokenPair) -> u16 {
        self.get(&[("Authorization", &format!("Bearer {}", tokens.access_token))]).await.status
    }

    async fn login(&self, subject: &str, audience: &str) -> v1::TokenPair {
        login(&self.authority, subject, audience).await
    }
}

async fn login(authority: &TestServer, subject: &str, audience: &str) -> v1::TokenPair {
    let request = v1::IssueTokenRequest {
        subject: subject.to_owned(),
        audience: vec![audience.to_owned()],
        scope: vec!["read".to_owned()],
        ..v1::IssueTokenRequest::default()
    };
    authority.issue(request).await.expect("issues")
}

async fn echo(headers: HeaderMap) -> Json<BTreeMap<String, String>> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Json(headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn envoy(_: &Path, file: &Path) -> Command {
    let envoy = root().join(".venv/bin/envoy");
    assert!(envoy.exists(), "{} is missing: run `make test`, which installs it", envoy.display());
    let mut command = Command::new(envoy);
    command.arg("-c").arg(file).args(["--disable-hot-restart", "--concurrency", "1", "-l", "error"]);
    command
}

fn nginx(directory: &Path, file: &Path) -> Command {
    let places = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx", "/opt/homebrew/bin/nginx"];
    let nginx =
        places.iter().find(|place| Path::new(place).exists()).expect("no nginx: run `make test`, which installs it");
    let mut command = Command::new(nginx);
    // One process, so that ending it ends all of it.
    command.arg("-p").arg(directory).arg("-c").arg(file).args(["-e", "stderr", "-g", "master_process off;"]);
    command
}

/// What each gateway that asks about every request has to hold.
async fn asks_about_each_request(gateway: &Gateway) {
    let tokens = gateway.login("ann", "orders").await;
    let bearer = format!("Bearer {}", tokens.access_token);
    let spoofed = [("Authorization", bearer.as_str()), ("X-Auth-Subject", "root"), ("X-Auth-Session-Id", "stolen")];
    let answer = gateway.get(&spoofed).await;
    assert_eq!(answer.status, 200);
    let reached = answer.json();
    assert_eq!((&reached["x-auth-subject"], &reached["x-auth-client-id"]), (&"ann".into(), &"cli".into()));
    assert_eq!(reached["x-auth-session-id"], tokens.session_id);
    assert_eq!(reached.get("authorization"), None, "the service gets no token");
    let underscored = gateway.get(&[("Authorization", &bearer), ("X_Auth_Subject", "root")]).await;
    let reached = |answer: &Answer| answer.status == 200 && answer.json().get("x_auth_subject").is_some();
    assert!(!reached(&underscored), "to many a service this is X-Auth-Subject: {underscored:?}");

    let cookie = format!("__Host-access_token={}", tokens.access_token);
    assert_eq!(gateway.get(&[("Cookie", &cookie)]).await.status, 200);
    let post = async |more: (&str, &str)| {
        send(gateway.address, "POST", "/things", &[("Cookie", &cookie), more], "").await.status
    };
    let own = format!("http://{}", gateway.address);
    assert_eq!(post(("Origin", &own)).await, 200);
    assert_eq!(post(("Origin", "https://evil.example")).await, 403);

    let missing = gateway.get(&[("X-Auth-Subject", "root")]).await;
    assert_eq!((missing.status, missing.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(gateway.bearer(&gateway.login("ann", "mail").await).await, 403, "for another audience");
    assert_eq!(gateway.bearer(&gateway.expired).await, 401, "expired");
    assert_eq!(gateway.bearer(&tokens).await, 200);
    gateway.authority.revoke(&tokens.refresh_token).await;
    assert_eq!(gateway.bearer(&tokens).await, 401, "revoked, at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_asks_about_each_request() {
    let gateway = Gateway::start("deploy/envoy/ext_authz.yaml", envoy).await;
    asks_about_each_request(&gateway).await;
    let public = send(gateway.address, "GET", "/public/x", &[("X-Auth-Subject", "root")], "").await;
    assert_eq!((public.status, public.json().get("x-auth-subject")), (200, None), "nobody names himself");
    let underscored = send(gateway.address, "GET", "/public/x", &[("X_Auth_Subject", "root")], "").await;
    assert_eq!(underscored.status, 400, "nor by another spelling");
    for (path, status) in [
        ("/public", 200),
        ("/public-admin", 401),
        ("/public/../orders", 401),
        ("/public/%2e%2e/orders", 401),
        ("/public//../../orders", 401),
        // To ask again for what it means.
        ("/public%2f..%2forders", 307),
        ("/public/..%5corders", 307),
    ] {
        assert_eq!(send(gateway.address, "GET", path, &[], "").await.status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_asks_about_each_request() {
    asks_about_each_request(&Gateway::start("deploy/nginx/nginx.conf", nginx).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_checks_tokens_by_the_key_set() {
    let gateway = Gateway::start("deploy/envoy/jwt_authn.yaml", envoy).await;
    let tokens = gateway.login("ann", "orders").await;
    assert_eq!(gateway.bearer(&tokens).await, 200);
    assert_eq!(gateway.get(&[("Cookie", &format!("__Host-access_token={}", tokens.access_token))]).await.status, 200);
    assert_eq!(gateway.get(&[]).await.status, 401);
    assert_eq!(
        gateway.get(&[("Authorization", &format!("Bearer {}", tokens.access_token)), ("X_Any", "1")]).await.status,
        400
    );
    assert_eq!(gateway.bearer(&gateway.expired).await, 401, "expired");
    assert_eq!(gateway.bearer(&gateway.login("ann", "mail").await).await, 403, "for another audience");
    let unsigned = v1::TokenPair {
        access_token: format!("{}AAAA", &tokens.access_token[..tokens.access_token.len() - 4]),
        ..tokens.clone()
    };
    assert_eq!(gateway.bearer(&unsigned).await, 401, "changed");
    gateway.authority.revoke(&tokens.refresh_token).await;
    assert_eq!(gateway.bearer(&tokens).await, 200, "revoked: the key set does not say so");
}
