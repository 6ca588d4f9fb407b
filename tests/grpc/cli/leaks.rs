//! No command says back a secret that it was given, whatever is wrong with it or with its server.

use tempfile::TempDir;

use super::command::{Client, run_with, text, write};
use crate::server_process::ServerProcess;

#[test]
fn no_command_repeats_a_secret() {
    let server = ServerProcess::start(&[]);
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str, text: &str| write(directory.path(), name, text);
    let (secret, pem) = (file("secret", "planted-secret-of-a-client"), file("key.pem", "planted"));
    let config = file("c.toml", "[store]\nurl = \"redis://planted:planted@127.0.0.1:1?x=planted\"\n");
    let webhook =
        file("w.toml", "[realm]\nname = \"web\"\n[realm.otp]\nwebhook_url = \"https://a:planted@sms.example\"\n");
    let url = file("c2.toml", "[server]\npublic_url = \"https://a:planted@h\"\n");
    let secrets = file("s.toml", "[realm]\nname = \"w\"\n[[realm.clients]]\nid = \"a\"\nsecrets = [\"planted\"]\n");
    let endpoint = server.endpoint();
    let as_client = ["--endpoint", &endpoint, "--client-id", "planted-client", "--client-secret-file", &secret];
    let commands: [&[&str]; 17] = [
        &["token", "issue", "--subject", "planted", "--realm", "nowhere"],
        &["token", "issue", "--subject", "planted", "--scope", " "],
        &["token", "introspect", "-"],
        &["token", "refresh", "-"],
        &["token", "refresh", "tar_planted"],
        &["token", "revoke", "-", "--realm", "nowhere"],
        &["session", "list", "--subject", "planted", "--realm", "nowhere"],
        &["session", "revoke", "planted"],
        &["keys", "import", "--config", &config, "--algorithm", "EdDSA", "-"],
        &["keys", "rewrap", "--config", &config, "--key-file", &pem],
        &["serve", "--config", &config, "--key-file", &pem],
        &["serve", "--store", "redis+tls://planted:planted@127.0.0.1:1"],
        &["store", "copy", "redis://planted:planted@127.0.0.1:1", "rediss+x://planted@h"],
        &["store", "status", "--store", "redis://planted:planted@127.0.0.1:1"],
        &["check-config", &webhook, &url, &secrets],
        &["token", "introspect", "-", "--endpoint", "http://planted:planted@127.0.0.1:1"],
        &["serve", "--otlp-endpoint", "http://planted@h"],
    ];
    for command in commands {
        let calls = ["token", "session"].contains(&command[0]) && !command.contains(&"--endpoint");
        let all = [command, if calls { &as_client[..] } else { &[] }].concat();
        let ended = run_with(&all, b"tar_planted\n", &[("RUST_LOG", "trace"), ("RUST_BACKTRACE", "full")]);
        assert!(ended.code.is_some_and(|code| code > 0) && !ended.err.is_empty(), "{command:?}: {ended:?}");
        assert!(!format!("{ended:?}").contains("planted"), "{command:?}: {ended:?}");
    }
    let tokens = Client::of(&server).issue(&["--subject", "planted"]);
    let refused = Client::of(&server).run(&["--realm", "nowhere", "token", "revoke", text(&tokens["refreshToken"])]);
    assert!(!refused.err.contains(text(&tokens["refreshToken"])), "{refused:?}");
}
