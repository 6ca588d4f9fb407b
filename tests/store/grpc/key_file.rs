//! The binary on a Redis: it needs a key file and a safe server, and says so.

use tempfile::TempDir;

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
