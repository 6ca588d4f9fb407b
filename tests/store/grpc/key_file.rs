//! The binary on a Redis: it needs a key file and a safe server, and says so.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use tempfile::TempDir;
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;

use crate::redis_server::RedisServer;
use crate::server_process::ServerProcess;

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_never_kept_in_redis() {
    let (redis, directory) = (RedisServer::start().await, TempDir::new().expect("a directory"));
    let (url, key) = (redis.url("ta"), directory.path().join("kek").display().to_string());
    let on_redis = ["--store", url.as_str()];
    let (status, stderr) = ServerProcess::fails_to_start(directory.path(), &on_redis);
    assert!(status.code() == Some(1) && stderr.contains("--key-file"), "{stderr}");
    let with_key = [&on_redis[..], &["--key-file", &key]].concat();
    let (status, stderr) = ServerProcess::fails_to_start(directory.path(), &with_key);
    assert!(status.code() == Some(1) && stderr.contains(&key), "{stderr}");
    assert_eq!(redis.keys().len(), 1, "only the note of the layout");
    drop(ServerProcess::start_in(directory.path(), &[&with_key[..], &["--dev"]].concat()));
    drop(ServerProcess::start_in(directory.path(), &with_key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_is_refused_unless_the_operator_insists() {
    let (redis, directory) = (RedisServer::start_with(&[]).await, TempDir::new().expect("a directory"));
    let (url, key) = (redis.url("ta"), directory.path().join("kek").display().to_string());
    let arguments = ["--store", &url, "--key-file", &key, "--dev"];
    let (status, stderr) = ServerProcess::fails_to_start(directory.path(), &arguments);
    assert!(status.code() == Some(1) && stderr.contains("CONFIG SET appendonly yes"), "{stderr}");
    let server = ServerProcess::start_in(directory.path(), &[&arguments[..], &["--accept-unsafe-store"]].concat());
    assert!(server.stderr_lines().iter().any(|line| line.contains("WARN") && line.contains("appendonly")));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_on_one_redis_exchange_their_key_without_a_stop() {
    let (redis, directory) = (RedisServer::start().await, TempDir::new().expect("a directory"));
    let url = redis.url("ta");
    let [old, new] = [("old", "5a"), ("new", "5b")].map(|(name, byte)| key_file(&directory, name, byte));
    let options = |keys: &[&str]| {
        let shared = ["--store", &url, "--public-url", "http://ta.example"];
        [&shared[..], keys].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let start = |keys: &[&str]| {
        let options = options(keys);
        ServerProcess::start_in(directory.path(), &options.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let running = start(&["--key-file", &old]);
    let prepared = start(&["--key-file", &new, "--previous-key-file", &old]);
    let login = v1::IssueTokenRequest { subject: "alice".to_owned(), ..v1::IssueTokenRequest::default() };
    let mut tokens = TokenServiceClient::connect(running.endpoint()).await.expect("connects");
    let pair = tokens.issue_token(login).await.expect("issues").into_inner().tokens.expect("tokens");

    let rewrap = ["keys", "rewrap", "--store", &url, "--key-file", &new, "--previous-key-file", &old];
    let done = Command::new(env!("CARGO_BIN_EXE_token-authority")).args(rewrap).env_clear().output().expect("runs");
    assert!(done.status.success(), "{done:?}");
    let after = start(&["--key-file", &new]);
    let mut refresh_token = pair.refresh_token;
    for server in [&running, &prepared, &after] {
        let mut tokens = TokenServiceClient::connect(server.endpoint()).await.expect("connects");
        let request = v1::RefreshTokenRequest { refresh_token, ..v1::RefreshTokenRequest::default() };
        let next = tokens.refresh_token(request).await.expect("the store is open").into_inner().tokens;
        refresh_token = next.expect("tokens").refresh_token;
    }
    let alone = options(&["--key-file", &old]);
    let alone: Vec<_> = alone.iter().map(String::as_str).collect();
    let (status, stderr) = ServerProcess::fails_to_start(directory.path(), &alone);
    assert!(status.code() == Some(1) && stderr.contains("wrong key-encryption key"), "{stderr}");
}

/// Neither a wrong key nor a lost one, though it may make one: to the byte, with the times at which keys expire.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_right_key_changes_nothing_and_the_other_goes_on() {
    let (redis, directory) = (RedisServer::start().await, TempDir::new().expect("a directory"));
    let url = redis.url("ta");
    let [right, wrong] = [("right", "5a"), ("wrong", "5b")].map(|(name, byte)| key_file(&directory, name, byte));
    let lost = directory.path().join("lost").display().to_string();
    let running = ServerProcess::start_in(directory.path(), &["--store", &url, "--key-file", &right]);
    let mut tokens = TokenServiceClient::connect(running.endpoint()).await.expect("connects");
    let login = v1::IssueTokenRequest { subject: "alice".to_owned(), ..v1::IssueTokenRequest::default() };
    let ended = tokens.issue_token(login.clone()).await.expect("issues").into_inner().tokens.expect("tokens");
    let revoke = v1::RevokeTokenRequest { token: ended.access_token, ..v1::RevokeTokenRequest::default() };
    tokens.revoke_token(revoke).await.expect("revokes");
    let pair = tokens.issue_token(login).await.expect("issues").into_inner().tokens.expect("tokens");

    // Stands still, so that whatever changes is another's doing.
    running.send_signal("STOP");
    let before = redis.dump();
    // Layout, vault, realm, subject, and the log with its head.
    assert_eq!(before.len(), 6, "{before:?}");
    for (key, refusal) in [(&wrong, "wrong key-encryption key"), (&lost, "lost is missing, and the store's data")] {
        let arguments = ["--store", &url, "--key-file", key, "--dev"];
        let (status, stderr) = ServerProcess::fails_to_start(directory.path(), &arguments);
        assert!(status.code() == Some(1) && stderr.contains(refusal), "{stderr}");
        assert_eq!(redis.dump(), before, "{key}");
    }
    assert!(!directory.path().join("lost").exists());
    running.send_signal("CONT");

    let request = v1::RefreshTokenRequest { refresh_token: pair.refresh_token, ..v1::RefreshTokenRequest::default() };
    tokens.refresh_token(request).await.expect("goes on");
    assert_ne!(redis.dump(), before, "a refresh shows");
}

fn key_file(directory: &TempDir, name: &str, byte: &str) -> String {
    let file = directory.path().join(name);
    fs::write(&file, byte.repeat(32)).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a mode");
    file.display().to_string()
}
