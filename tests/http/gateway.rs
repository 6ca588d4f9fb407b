//! A gateway of others' making with a configuration that `deploy/` recommends, between a server and a
//! service of the test.

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use axum::{Json, Router};
use futures::StreamExt as _;
use tempfile::TempDir;
use token_authority::http::serve;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;

use crate::test_server::TestServer;

const START: Duration = Duration::from_secs(30);

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) authority: TestServer,
    /// Where the service is reached past the gateway.
    pub(crate) service: SocketAddr,
    process: Child,
    _directory: TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Gateway {
    pub(crate) async fn start(
        authority: TestServer,
        service: Router,
        config: &str,
        command: impl FnOnce(&Path, &Path) -> Command,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let service_address = listener.local_addr().expect("an address");
        let connections = TcpListenerStream::new(listener).filter_map(|connection| ready(connection.ok()));
        tokio::spawn(serve(connections, service, START, pending()));
        let gateway_port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("one").port();

        let directory = TempDir::new().expect("a directory");
        let text = std::fs::read_to_string(root().join(config)).expect("a configuration");
        let text = [
            ("10000", gateway_port),
            ("9000", service_address.port()),
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
        let mut gateway = Self { address, authority, service: service_address, process, _directory: directory };
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
}

/// What a service answers that says what reached it.
pub(crate) async fn echo(headers: HeaderMap) -> Json<BTreeMap<String, String>> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Json(headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
}

pub(crate) fn envoy(_: &Path, file: &Path) -> Command {
    let envoy = root().join(".venv/bin/envoy");
    assert!(envoy.exists(), "{} is missing: run `make test`, which installs it", envoy.display());
    let mut command = Command::new(envoy);
    command.arg("-c").arg(file).args(["--disable-hot-restart", "--concurrency", "1", "-l", "error"]);
    command
}

pub(crate) fn nginx(directory: &Path, file: &Path) -> Command {
    let places = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx", "/opt/homebrew/bin/nginx"];
    let nginx =
        places.iter().find(|place| Path::new(place).exists()).expect("no nginx: run `make test`, which installs it");
    let mut command = Command::new(nginx);
    // One process, so that ending it ends all of it.
    command.arg("-p").arg(directory).arg("-c").arg(file).args(["-e", "stderr", "-g", "master_process off;"]);
    command
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
