//! Runs the binary as a person or a script would, and keeps how it ended. Knows no command.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server_process::ServerProcess;

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ended {
    /// The answer of a command that succeeded.
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.any_json()
    }

    pub(super) fn any_json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A refusal: the code, nothing on standard output, and words on standard error.
    #[track_caller]
    pub(super) fn failed(&self, code: i32, says: &str) {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        assert!(self.err.starts_with("error: ") && self.err.contains(says), "{says:?} in {self:?}");
    }
}

pub(super) fn run(arguments: &[&str]) -> Ended {
    run_with(arguments, b"", &[])
}

pub(super) fn run_with(arguments: &[&str], input: &[u8], environment: &[(&str, &str)]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_token-authority"))
        .args(arguments)
        // The developer's environment configures the developer's server, not this one.
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    // Fails where the command has read enough and is gone.
    let _ = child.stdin.take().expect("standard input is piped").write_all(input);
    let output = child.wait_with_output().expect("the process can be waited for");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A client of one server.
pub(super) struct Client(String);

impl Client {
    pub(super) fn of(server: &ServerProcess) -> Self {
        Self(server.endpoint())
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ended {
        run(&[arguments, &["--endpoint", &self.0]].concat())
    }

    pub(super) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        run_with(&[arguments, &["--endpoint", &self.0]].concat(), input, &[])
    }

    /// The tokens of a new login.
    pub(super) fn issue(&self, arguments: &[&str]) -> Value {
        let all = [&["token", "issue", "--json"], arguments].concat();
        self.run(&all).json()["tokens"].clone()
    }

    pub(super) fn is_active(&self, token: &Value) -> bool {
        let ended = self.run(&["token", "introspect", text(token), "--json"]);
        let active = ended.any_json()["active"].as_bool().expect("active is a boolean");
        assert_eq!(ended.code, Some(i32::from(!active)), "{ended:?}");
        active
    }
}

#[track_caller]
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is text"))
}

pub(super) fn write(directory: &Path, name: &str, text: &str) -> String {
    let file = directory.join(name);
    fs::write(&file, text).expect("writes");
    file.to_str().expect("UTF-8").to_owned()
}
