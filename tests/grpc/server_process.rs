//! The real binary as a process of its own, on free ports and a store of its own, as callers outside
//! Rust and the command line see it. Knows nothing of the API; ends the process when dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use tempfile::TempDir;

/// Generous: a first start makes an RSA key, and a loaded machine is slow.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// The server promises 10 s, whatever its clients hold open.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// A running `token-authority serve`.
pub(crate) struct ServerProcess {
    child: Child,
    stderr: Arc<Stderr>,
    grpc: SocketAddr,
    http: SocketAddr,
    directory: PathBuf,
    /// Holds the directory until after the process; `None` if the caller owns it.
    _own_directory: Option<TempDir>,
}

#[allow(dead_code, reason = "a vocabulary for tests, which need not use every word at a time")]
impl ServerProcess {
    /// Starts a server in a new directory. `arguments` follow `serve`; what they leave out of ports
    /// and store is chosen here.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let own = TempDir::new().expect("a temporary directory");
        let mut server = Self::start_in(own.path(), arguments);
        server._own_directory = Some(own);
        server
    }

    /// Starts a server on the store in `directory`, which outlives it: to start again on the same.
    pub(crate) fn start_in(directory: &Path, arguments: &[&str]) -> Self {
        Self::spawn(&mut Self::command(directory, arguments), directory)
            .unwrap_or_else(|(_, stderr)| panic!("the server did not start; its standard error:\n{stderr}"))
    }

    /// Starts a server that must refuse to start; returns how it exited and what it wrote.
    pub(crate) fn fails_to_start(directory: &Path, arguments: &[&str]) -> (ExitStatus, String) {
        match Self::spawn(&mut Self::command(directory, arguments), directory) {
            Ok(_) => panic!("the server started"),
            Err(refused) => refused,
        }
    }

    /// Where gRPC is served.
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Where HTTP is served.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// The gRPC address as clients of tonic and the command line take it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// The directory that holds the store, in `store`.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server wrote to standard error so far.
    pub(crate) fn stderr_lines(&self) -> Vec<String> {
        self.stderr.written().lines.clone()
    }

    /// Waits until a line of standard error, past or future, contains `text`; panics after `deadline`.
    pub(crate) fn wait_for_line(&self, text: &str, deadline: Duration) -> String {
        self.stderr
            .wait_for(deadline, |line| line.contains(text).then(|| line.to_owned()))
            .unwrap_or_else(|| panic!("no line with {text:?} in:\n{}", self.stderr.text()))
    }

    /// Kills the process as a crash would: nothing is flushed, nobody is told.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// Sends SIGTERM and returns at once.
    pub(crate) fn send_sigterm(&self) {
        self.send_signal("TERM");
    }

    /// Sends a signal, named without its SIG, and returns at once.
    pub(crate) fn send_signal(&self, name: &str) {
        // The shell's own `kill`: a signal needs unsafe code in Rust, and `kill` may not be installed.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status().expect("sh runs");
        assert!(sent.success(), "SIG{name} was not sent");
    }

    /// Sends SIGTERM and waits for the end; panics if the server takes longer than it may.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.send_sigterm();
        // Its end of the pipe closes when the process ends, which can be waited for with a limit.
        assert!(self.stderr.wait_for_end(STOP_DEADLINE), "no exit after SIGTERM; stderr:\n{}", self.stderr.text());
        self.child.wait().expect("the process can be waited for")
    }

    fn command(directory: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_token-authority"));
        let store = format!("embedded:{}", directory.join("store").display());
        command.arg("serve").args(arguments);
        for (flag, value) in [("--grpc", "127.0.0.1:0"), ("--http", "127.0.0.1:0"), ("--store", &store)] {
            if !arguments.iter().any(|argument| argument.split('=').next() == Some(flag)) {
                command.arg(flag).arg(value);
            }
        }
        // The developer's environment configures the developer's server, not this one.
        command.env_clear().env("RUST_BACKTRACE", "1").current_dir(directory);
        command
    }

    /// How it ended and what it wrote, if it does not serve within the deadline; killed if it has not ended.
    fn spawn(command: &mut Command, directory: &Path) -> Result<Self, (ExitStatus, String)> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let stderr = Stderr::follow(child.stderr.take().expect("standard error is piped"));
        let Some((grpc, http)) = stderr.wait_for(START_DEADLINE, listening) else {
            if !stderr.written().ended {
                child.kill().expect("the process can be killed");
            }
            return Err((child.wait().expect("the process can be waited for"), stderr.text()));
        };
        Ok(Self { child, stderr, grpc, http, directory: directory.to_owned(), _own_directory: None })
    }
}

impl Drop for ServerProcess {
    #[allow(clippy::print_stderr, reason = "a failed test is understood from the server's side too")]
    fn drop(&mut self) {
        // Both fail if the process has ended already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- standard error of the server, pid {}\n{}---", self.child.id(), self.stderr.text());
        }
    }
}

/// `listening grpc=ADDR http=ADDR`, written once all ports are bound and served; other words may
/// stand around it.
fn listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (_, rest) = line.split_once("listening ")?;
    let address = |name: &str| rest.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok());
    Some((address("grpc=")?, address("http=")?))
}

/// What a process wrote, collected by a thread so that the process never waits for its reader.
struct Stderr {
    written: Mutex<Written>,
    changed: Condvar,
}

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

impl Stderr {
    fn follow(pipe: ChildStderr) -> Arc<Self> {
        let stderr = Arc::new(Self { written: Mutex::default(), changed: Condvar::new() });
        let writer = Arc::clone(&stderr);
        thread::spawn(move || {
            for line in io::BufRead::lines(io::BufReader::new(pipe)).map_while(Result::ok) {
                writer.written().lines.push(line);
                writer.changed.notify_all();
            }
            writer.written().ended = true;
            writer.changed.notify_all();
        });
        stderr
    }

    /// The first line from which `find` finds something, within `deadline` and before the end.
    fn wait_for<T>(&self, deadline: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut seen = 0;
        let mut found = None;
        let waited = self.changed.wait_timeout_while(self.written(), deadline, |written| {
            found = written.lines[seen..].iter().find_map(|line| find(line));
            seen = written.lines.len();
            found.is_none() && !written.ended
        });
        drop(waited);
        found
    }

    fn wait_for_end(&self, deadline: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.written(), deadline, |written| !written.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    fn text(&self) -> String {
        self.written().lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
