//! Servers in processes of their own, on free ports, ended when dropped; and what the system says of
//! their processor time and memory (Linux; elsewhere nothing).

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Failure;

/// A first start makes RSA keys.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Of `/proc`: `sysconf(_SC_CLK_TCK)` is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Fixed, so that tokens of one start are the next one's too.
pub(crate) const ISSUER: &str = "http://bench.test";

/// A server that serves.
pub(crate) struct Process {
    child: Child,
    /// Where it serves gRPC.
    pub(crate) grpc: SocketAddr,
}

impl Process {
    /// Starts `token-authority serve` on the store in a directory, as an operator would, logs to a file.
    pub(crate) async fn authority(directory: &Path) -> Result<Self, Failure> {
        Self::serve(directory, &[format!("--store=embedded:{}", directory.join("store").display())]).await
    }

    /// The same on a store in Redis.
    pub(crate) async fn authority_on(directory: &Path, redis: &str) -> Result<Self, Failure> {
        let key = format!("--key-file={}", directory.join("kek").display());
        Self::serve(directory, &[format!("--store={redis}"), key, "--dev".to_owned()]).await
    }

    async fn serve(directory: &Path, store: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_token-authority"));
        command.args(["serve", "--grpc=127.0.0.1:0", "--http=127.0.0.1:0"]);
        // Fixed, so that tokens of one start are the next one's too.
        command.arg(format!("--public-url={ISSUER}"));
        command.args(store);
        command.arg(format!("--realms={}", directory.join("realms").display()));
        Self::start(command.env_clear(), directory).await
    }

    /// Starts this very program as the echo server.
    pub(crate) async fn echo(directory: &Path) -> Result<Self, Failure> {
        Self::start(Command::new(std::env::current_exe()?).arg("echo-server"), directory).await
    }

    async fn start(command: &mut Command, directory: &Path) -> Result<Self, Failure> {
        let log = tempfile::Builder::new().prefix("stderr-").tempfile_in(directory)?.keep()?.1;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?;
        let mut process = Self { child, grpc: ([127, 0, 0, 1], 0).into() };
        let written = || fs::read_to_string(&log).unwrap_or_default();
        let listening = tokio::time::timeout(START_DEADLINE, async {
            loop {
                let text = written();
                if let Some(address) = text
                    .split_once("listening grpc=")
                    .and_then(|(_, rest)| rest.split_once(' ').and_then(|(address, _)| address.parse().ok()))
                {
                    return Some(address);
                }
                if !matches!(process.child.try_wait(), Ok(None)) {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let address = listening.await.ok().flatten();
        process.grpc = address.ok_or_else(|| format!("the server did not start:\n{}", written()))?;
        Ok(process)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time that a process has used so far, to 10 ms.
pub(crate) fn cpu(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The memory that a process holds now, in MiB.
pub(crate) fn resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}
