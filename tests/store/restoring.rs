//! A backup that was put back, and what a store says of itself.

use tempfile::TempDir;

use super::operator::{Served, answer, refusal, run};
use super::redis_server::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_backup_brings_back_is_good_once_it_is_told() {
    let (redis, directory) = (RedisServer::start().await, TempDir::new().expect("a directory"));
    let embedded = |name: &str| format!("embedded:{}", directory.path().join(name).display());
    let (store, backup) = (embedded("store"), embedded("backup"));
    let key = directory.path().join("backup/kek");
    let mut server = Served::on(&store, None).await;
    let (quiet, revoked, used) = (server.login("ann").await, server.login("ben").await, server.login("cat").await);
    server.stop().await;
    answer(&["store", "copy", &store, &backup, "--json"]);
    let mut server = Served::on(&store, None).await;
    server.revoke(&revoked).await;
    let newer = server.refresh(&used).await.expect("refreshed");
    let newest = server.refresh(&newer).await.expect("refreshed");
    let later = server.login("dan").await;
    server.stop().await;

    // What the command is for: as the backup has it, both are good again.
    let untold = embedded("untold");
    answer(&["store", "copy", &backup, &untold, "--json"]);
    let mut server = Served::on(&untold, None).await;
    assert!(server.is_active(&revoked).await && server.refresh(&used).await.is_ok());
    server.stop().await;

    for (restored, key_file) in [(redis.url("ta"), Some(&*key)), (embedded("restored"), None)] {
        answer(&["store", "copy", &backup, &restored, "--json"]);
        let mut arguments = vec!["store", "restored", "--store", &restored, "--json"];
        arguments.extend(key_file.iter().flat_map(|key| ["--key-file", key.to_str().expect("a readable path")]));
        assert_eq!(answer(&arguments)["realms"], serde_json::json!(["default"]), "{restored}");
        let mut server = Served::on(&restored, key_file).await;
        for pair in [&quiet, &revoked, &used, &newer, &newest, &later] {
            assert!(!server.is_active(pair).await && server.refresh(pair).await.is_err(), "{restored}");
        }
        let again = server.login("ann").await;
        let next = server.refresh(&again).await.expect("refreshed");
        assert!(server.is_active(&again).await && server.is_active(&next).await, "{restored}");
        server.stop().await;
    }
    let unkeyed = refusal(&["store", "restored", "--store", &redis.url("ta")]);
    assert!(unkeyed.contains("--key-file"), "{unkeyed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_what_is_there() {
    let (redis, directory) = (RedisServer::start().await, TempDir::new().expect("a directory"));
    let store = format!("embedded:{}", directory.path().join("store").display());
    let mut server = Served::on(&store, None).await;
    for subject in ["ann", "ben", "cat"] {
        let pair = server.login(subject).await;
        server.revoke(&pair).await;
    }
    server.login("ann").await;
    server.stop().await;
    answer(&["store", "copy", &store, &redis.url("ta"), "--json"]);
    for (url, topology, partitions, part) in [
        (store, "embedded", 1, vec!["name", "file_size"]),
        (
            redis.url("ta"),
            "standalone",
            256,
            vec![
                "name",
                "latency",
                "version",
                "role",
                "replicas",
                "memory",
                "memory_limit",
                "eviction",
                "append_only_file",
            ],
        ),
    ] {
        let told = answer(&["store", "status", "--store", &url, "--json"]);
        let number = |name: &str| told[name].as_u64().expect(name);
        assert_eq!((told["topology"].as_str(), number("partitions")), (Some(topology), partitions));
        assert_eq!((number("realms"), number("subjects"), number("revocations")), (1, 3, 3), "{told}");
        assert!(told["heads"][0]["number"].as_u64() > Some(0), "{told}");
        let found = told["parts"][0].as_object().expect("a part");
        assert!(part.iter().all(|name| found.contains_key(*name)) && found.len() == part.len(), "{told}");
        let person = run(&["store", "status", "--store", &url]);
        assert!(String::from_utf8_lossy(&person.stdout).contains("subjects:"), "{person:?}");
    }
    let told = answer(&["store", "status", "--store", &redis.url("ta"), "--json"]);
    let part = &told["parts"][0];
    assert_eq!((&part["eviction"], &part["append_only_file"]), (&"noeviction".into(), &"on".into()), "{told}");
}
