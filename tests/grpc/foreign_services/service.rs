//! An example service as a process of its own, on a free port. Knows no token.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use tempfile::NamedTempFile;
use tokio::time::{sleep, timeout};

use crate::edges::get_with;

const PATIENCE: Duration = Duration::from_secs(20);

/// What runs each example.
pub(super) const LANGUAGES: [[&str; 2]; 2] = [
    [".venv/bin/python", "examples/python/protected_service.py"],
    [".venv/bin/node", "examples/node/protected_service.mjs"],
];

/// An example that runs, until it is dropped.
pub(super) struct Service {
    child: Child,
    address: SocketAddr,
    stderr: NamedTempFile,
}

impl Service {
    pub(super) fn start(
        [program, script]: [&str; 2],
        authority: SocketAddr,
        issuer: &str,
        max_staleness: &str,
    ) -> Self {
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
    pub(super) async fn status(&self, token: &str) -> u16 {
        let header = format!("Authorization: Bearer {token}\r\n");
        let (head, _) = get_with(self.address, "/orders", &header).await;
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    pub(super) async fn comes_to(&self, status: u16, token: &str) {
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

pub(super) async fn all_come_to(status: u16, services: &[Service], token: &str) {
    for service in services {
        service.comes_to(status, token).await;
    }
}
