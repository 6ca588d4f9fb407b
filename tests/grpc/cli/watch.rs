//! `session watch` as a person and a program read it while it runs, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use token_authority::verify::client::SecretHash;

use super::command::{Client, run, text, write};
use crate::server_process::ServerProcess;

const PATIENCE: Duration = Duration::from_secs(20);

/// The command while it runs.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn of_alice(server: &ServerProcess, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_token-authority"))
            .args(["session", "watch", "--subject", "alice", "--endpoint", &server.endpoint()])
            .args(flags)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let out = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let (line, lines) = channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|read| line.send(read)));
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// The lines up to an empty one, as `key value`.
    fn session(&self) -> Vec<String> {
        let lines = std::iter::repeat_with(|| self.line()).take_while(|line| !line.is_empty());
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// The next event that is no heartbeat.
    fn event(&self) -> Value {
        let mut events = std::iter::repeat_with(|| serde_json::from_str(&self.line()).expect("JSON"));
        events.find(|event: &Value| event.get("heartbeat").is_none()).expect("there is no end")
    }

    /// How it ended, and what it wrote on standard error.
    fn end(mut self) -> (ExitStatus, String) {
        // Ends with the stream that its standard output is.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        let mut said = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        (self.child.wait().expect("can be waited for"), said)
    }
}

fn interrupt(watch: &Watch) {
    let kill = format!("kill -INT {}", watch.child.id());
    assert!(Command::new("sh").arg("-c").arg(kill).status().expect("sh runs").success());
}

#[test]
fn a_person_sees_what_there_is_and_what_happens_until_an_interrupt() {
    let server = ServerProcess::start(&[]);
    let client = Client::of(&server);
    let login = |device: &str| client.issue(&["--subject", "alice", "--device", device]);
    let laptop = login("laptop");
    let watch = Watch::of_alice(&server, &[]);
    let seen = |happened: &str, tokens: &Value, device: &str| {
        let session = watch.session();
        let said =
            [format!("happened: {happened}"), format!("session_id: {}", text(&tokens["sessionId"]))].map(String::from);
        assert_eq!(session[..2], said, "{session:?}");
        assert!(session.contains(&format!("device: {device}")), "{session:?}");
    };
    seen("live", &laptop, "laptop");
    let phone = login("phone");
    seen("opened", &phone, "phone");
    assert_eq!(client.run(&["token", "refresh", text(&laptop["refreshToken"])]).code, Some(0));
    seen("refreshed", &laptop, "laptop");
    assert_eq!(client.run(&["session", "revoke", text(&phone["sessionId"])]).code, Some(0));
    seen("ended", &phone, "phone");
    interrupt(&watch);
    let (status, said) = watch.end();
    assert_eq!((status.signal(), said.as_str()), (Some(2), ""), "a shell says 130");
}

#[test]
fn a_program_reads_a_line_an_event_until_the_server_ends() {
    let mut server = ServerProcess::start(&[]);
    let client = Client::of(&server);
    let watch = Watch::of_alice(&server, &["--json"]);
    assert_eq!(watch.event()["snapshot"]["sessions"], serde_json::json!([]));
    let tokens = client.issue(&["--subject", "alice"]);
    let opened = watch.event();
    assert_eq!(text(&opened["change"]["kind"]), "SESSION_CHANGE_KIND_OPENED");
    assert_eq!(opened["change"]["session"]["sessionId"], tokens["sessionId"]);
    assert!(server.terminate().success());
    let (status, said) = watch.end();
    assert!(status.code() == Some(3) && said.starts_with("error: "), "{status:?}: {said}");

    // Nobody told of its end.
    let mut server = ServerProcess::start(&[]);
    let watch = Watch::of_alice(&server, &["--json"]);
    watch.event();
    server.kill9();
    let (status, said) = watch.end();
    assert!(status.code() == Some(3) && said.starts_with("error: "), "{status:?}: {said}");
}

#[test]
fn who_may_not_watch_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let secret = "tas_0123456789abcdef0123456789";
    let hash = SecretHash::of(secret).expect("a hash");
    let realm = format!(
        "[realm]\nname = \"default\"\nalgorithm = \"EdDSA\"\n\
         [[realm.clients]]\nid = \"shop\"\nsecrets = [\"{hash}\"]\nroles = [\"introspector\"]\n"
    );
    let file = write(directory.path(), "realm.toml", &realm);
    let server = ServerProcess::start_in(directory.path(), &["--config", &file]);
    let endpoint = server.endpoint();
    let watch = ["session", "watch", "--subject", "alice", "--endpoint", &endpoint];
    run(&watch).failed(1, "(CLIENT_NOT_AUTHENTICATED)");
    let secret = write(directory.path(), "secret", secret);
    let shop = ["--client-id", "shop", "--client-secret-file", &secret];
    run(&[&watch[..], &shop].concat()).failed(1, "(CLIENT_NOT_PERMITTED)");
    run(&[&watch[..], &["--realm", "nowhere"]].concat()).failed(1, "(UNKNOWN_REALM)");
}
