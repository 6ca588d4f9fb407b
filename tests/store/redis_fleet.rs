//! Several Redis servers of the test's own that form one store: a primary with replicas behind
//! Sentinels, or a Cluster. End with the test.

use std::process::Command;
use std::time::Duration;

use super::redis_server::{RedisServer, Reply};

/// Generous: a loaded machine is slow.
const FORMED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct RedisFleet {
    /// What the URL names: the Sentinels, or nobody, and then the servers themselves.
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

    /// Three primaries, three replicas.
    pub(crate) async fn cluster() -> Self {
        let options = ["--appendonly", "yes", "--repl-diskless-sync-delay", "0"];
        let cluster = Self::cluster_of(6, 1, &options).await;
        let replicas = |server: &RedisServer| field(&server.run(&["INFO", "replication"]), "connected_slaves") == "1";
        until(|| cluster.servers.iter().filter(|server| replicas(server)).count() == 3).await;
        cluster
    }

    /// Three primaries alone.
    #[allow(dead_code, reason = "for the benchmark")]
    pub(crate) async fn cluster_of_three(options: &[&str]) -> Self {
        Self::cluster_of(3, 0, options).await
    }

    async fn cluster_of(nodes: usize, replicas: usize, options: &[&str]) -> Self {
        let mut servers = Vec::new();
        for _ in 0..nodes {
            let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            servers.push(RedisServer::start_with(&[&cluster, options].concat()).await);
        }
        let nodes: Vec<_> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        let formed = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&nodes)
            .args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"])
            .output()
            .expect("redis-cli comes with redis-server");
        assert!(formed.status.success(), "{}", String::from_utf8_lossy(&formed.stdout));
        until(|| servers.iter().all(|server| field(&server.run(&["CLUSTER", "INFO"]), "cluster_state") == "ok")).await;
        Self { doors: Vec::new(), servers, scheme: "redis-cluster", name: "" }
    }

    /// As `--store` takes it, with a prefix for all keys.
    pub(crate) fn url(&self, prefix: &str) -> String {
        let doors = if self.doors.is_empty() { &self.servers } else { &self.doors };
        let hosts: Vec<_> = doors.iter().map(|door| format!("127.0.0.1:{}", door.port())).collect();
        format!("{}://{}{}?prefix={prefix}", self.scheme, hosts.join(","), self.name)
    }

    /// Which server takes writes of this key.
    pub(crate) fn owner(&self, key: &str) -> usize {
        let owns = |server: &RedisServer| {
            let primary = field(&server.run(&["INFO", "replication"]), "role") == "master";
            primary && !matches!(server.run(&["GET", key]), Reply::Error(_))
        };
        self.servers.iter().position(owns).expect("an owner")
    }

    /// Waits until the replicas of a server have all that it has.
    pub(crate) async fn replicated(&self, owner: usize) {
        until(|| {
            let info = self.servers[owner].run(&["INFO", "replication"]);
            let offset = format!("offset={},", field(&info, "master_repl_offset"));
            let replicas = ["slave0", "slave1"].map(|replica| field(&info, replica));
            !replicas[0].is_empty() && replicas.iter().all(|replica| replica.is_empty() || replica.contains(&offset))
        })
        .await;
    }

    /// Moves a third of one primary's slots to another, and waits for the end.
    pub(crate) async fn move_slots(&self) {
        let id = |server: &RedisServer| match server.run(&["CLUSTER", "MYID"]) {
            Reply::Bytes(Some(id)) => String::from_utf8_lossy(&id).into_owned(),
            other => panic!("no id: {other:?}"),
        };
        let mut primaries =
            self.servers.iter().filter(|server| field(&server.run(&["INFO", "replication"]), "role") == "master");
        let (from, to) = (primaries.next().expect("a primary"), primaries.next().expect("another"));
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard", &format!("127.0.0.1:{}", from.port())]).args([
            "--cluster-from",
            &id(from),
            "--cluster-to",
            &id(to),
            "--cluster-slots",
            "1800",
            "--cluster-yes",
        ]);
        let moved = tokio::task::spawn_blocking(move || command.output()).await.expect("ran").expect("redis-cli runs");
        assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stdout));
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
