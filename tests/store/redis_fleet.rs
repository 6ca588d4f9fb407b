//! Several Redis servers of the test's own that form one store: a primary with replicas behind
//! Sentinels. End with the test.

use std::time::Duration;

use super::redis_server::{RedisServer, Reply};

/// Generous: a loaded machine is slow.
const FORMED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct RedisFleet {
    /// What the URL names: the Sentinels.
    doors: Vec<RedisServer>,
    /// With data; the first is the primary at the start.
    pub(crate) servers: Vec<RedisServer>,
    scheme: &'static str,
    name: &'static str,
}

impl RedisFleet {
    /// One primary, two replicas, three Sentinels.
    pub(crate) async fn sentinel() -> Self {
        let mut servers =
            vec![RedisServer::start_with(&["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]).await];
        let port = servers[0].port();
        for _ in 0..2 {
            let replica_of = ["--appendonly", "yes", "--replicaof", "127.0.0.1", &port.to_string()];
            servers.push(RedisServer::start_with(&replica_of).await);
        }
        until(|| field(&servers[0].run(&["INFO", "replication"]), "connected_slaves") == "2").await;
        let mut doors = Vec::new();
        for _ in 0..3 {
            doors.push(RedisServer::start_sentinel(port).await);
        }
        // They hear of each other and of the replicas by and by; before that, no failover.
        let informed = |door: &RedisServer| {
            let Reply::List(state) = door.run(&["SENTINEL", "MASTER", "main"]) else { return false };
            let value = |name: &str| {
                let at = state.iter().position(|word| *word == Reply::Bytes(Some(name.into())))?;
                state.get(at + 1).cloned()
            };
            value("num-slaves") == Some(Reply::Bytes(Some(b"2".to_vec())))
                && value("num-other-sentinels") == Some(Reply::Bytes(Some(b"2".to_vec())))
        };
        until(|| doors.iter().all(informed)).await;
        Self { doors, servers, scheme: "redis-sentinel", name: "/main" }
    }

    /// As `--store` takes it, with a prefix for all keys.
    pub(crate) fn url(&self, prefix: &str) -> String {
        let hosts: Vec<_> = self.doors.iter().map(|door| format!("127.0.0.1:{}", door.port())).collect();
        format!("{}://{}{}?prefix={prefix}", self.scheme, hosts.join(","), self.name)
    }

    /// Waits until every server has this key with the primary's value.
    pub(crate) async fn replicated(&self, key: &str) {
        let value = self.servers[0].run(&["GET", key]);
        until(|| self.servers.iter().all(|server| server.run(&["GET", key]) == value)).await;
    }
}

/// A field of what INFO answers.
pub(crate) fn field(info: &Reply, name: &str) -> String {
    let Reply::Bytes(Some(text)) = info else { return String::new() };
    let text = String::from_utf8_lossy(text);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim_end().to_owned()
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(FORMED_WITHIN, met).await.expect("the servers form a store in time");
}
