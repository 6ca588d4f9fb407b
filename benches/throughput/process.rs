//! Servers in processes of their own, on free ports and on the server's cores, ended when dropped; and
//! what the system says of their processor time and memory (Linux; elsewhere nothing).

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::Failure;
use crate::cores::CORES;

/// A first start makes RSA keys, and one on a million sessions reads them.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Of `/proc`: `sysconf(_SC_CLK_TCK)` is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Fixed, so that tokens of one start are the next one's too.
pub(crate) const ISSUER: &str = "http://bench.test";
/// The server that is measured.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_token-authority");

/// A server that serves.
pub(crate) struct Process {
    child: Child,
    /// Where it serves gRPC.
    pub(crate) grpc: SocketAddr,
    /// Where it serves HTTP.
    pub(crate) http: SocketAddr,
    /// From its start until it was ready.
    pub(crate) ready_after: Duration,
}

impl Process {
    /// Starts `token-authority serve` on a store, as an operator would.
    pub(crate) async fn authority(directory: &Path, store: &str, flags: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--grpc=127.0.0.1:0", "--http=127.0.0.1:0", "--dev"]);
        command.arg(format!("--public-url={ISSUER}")).arg(format!("--store={store}"));
        command.arg(format!("--realms={}", directory.join("realms").display()));
        command.arg(format!("--key-file={}", directory.join("kek").display())).args(flags);
        // Realms have a client for those rows that prove who calls; the others call as in a realm without.
        command.env_clear().env("TOKEN_AUTHORITY__SERVER__ANONYMOUS", "operator");
        Ok(Self::start(&mut command, directory, listening).await?.0)
    }

    /// Starts this very program as the echo server.
    pub(crate) async fn echo(directory: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self::start(command.arg("echo-server"), directory, listening).await?.0)
    }

    /// Starts anything, waits for what it writes to say where it listens, and gives what else it said.
    pub(crate) async fn start<T>(
        command: &mut Command,
        directory: &Path,
        said: impl Fn(&str) -> Option<(Addresses, T)>,
    ) -> Result<(Self, T), Failure> {
        let log = tempfile::Builder::new().prefix("log-").tempfile_in(directory)?.keep()?.1;
        let (out, errors) = (File::create(&log)?, File::options().append(true).open(&log)?);
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        let start = Instant::now();
        let mut child = CORES.as_server(|| command.spawn())?;
        let written = || fs::read_to_string(&log).unwrap_or_default();
        let listening = async {
            loop {
                if let Some(said) = said(&written()) {
                    return Some(said);
                }
                if !matches!(child.try_wait(), Ok(None)) {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        match tokio::time::timeout(START_DEADLINE, listening).await {
            Ok(Some((Addresses { grpc, http }, said))) => {
                Ok((Self { child, grpc, http, ready_after: start.elapsed() }, said))
            }
            _ => {
                let _ = child.kill();
                Err(format!("{} did not start:\n{}", command.get_program().to_string_lossy(), written()).into())
            }
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it holds now, in MiB.
    #[expect(clippy::cast_precision_loss, reason = "far fewer bytes than a double counts")]
    pub(crate) fn resident(&self) -> Option<f64> {
        family(self.id()).into_iter().map(resident).sum::<Option<u64>>().map(|kib| kib as f64 / 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a server listens.
pub(crate) struct Addresses {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// The line that the server and the echo write.
fn listening(written: &str) -> Option<(Addresses, ())> {
    let (_, rest) = written.split_once("listening grpc=")?;
    let (grpc, rest) = rest.split_once(" http=")?;
    let http = rest.split_once(['\n', ' '])?.0;
    Some((Addresses { grpc: grpc.parse().ok()?, http: http.parse().ok()? }, ()))
}

/// The processor time that a process and its children have used so far, to 10 ms.
pub(crate) fn cpu(process: u32) -> Option<Duration> {
    family(process).into_iter().map(cpu_alone).sum()
}

/// The same without children.
pub(crate) fn cpu_alone(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn family(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    [process].into_iter().chain(children).collect()
}

/// In KiB.
fn resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
