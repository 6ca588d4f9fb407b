//! What is in a server's memory stays there: keys and tokens reach neither a core dump nor another
//! process of the same user.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A process without the right to look into others', which root has: started by anybody else it has none.
fn powerless(program: &str) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", "--", program]);
    command
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("runs");
        self.0.wait().expect("ends");
    }
}

fn environment_is_readable(process: &Running) -> bool {
    let read = powerless("cat").arg(format!("/proc/{}/environ", process.0.id())).output().expect("util-linux");
    read.status.success()
}

#[test]
fn no_core_dump_and_no_other_process_shows_it() {
    let directory = TempDir::new().expect("a directory");
    let store = format!("embedded:{}", directory.path().join("store").display());
    let mut serve = powerless(env!("CARGO_BIN_EXE_token-authority"));
    serve.args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", &store]);
    let mut server = Running(serve.stderr(Stdio::piped()).spawn().expect("starts"));
    let mut lines = BufReader::new(server.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("listening ")));

    let limits = fs::read_to_string(format!("/proc/{}/limits", server.0.id())).expect("Linux");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);

    // Waits for the pipe, so it is there and does nothing.
    let ordinary = Running(powerless("cat").stdin(Stdio::piped()).spawn().expect("starts"));
    while !environment_is_readable(&ordinary) {
        std::thread::yield_now();
    }
    assert!(!environment_is_readable(&server));
}
