//! Reading the store in Redis whole: each primary's keys by SCAN, each record's bytes by GET. Writes
//! nothing.

use std::collections::HashMap;

use async_trait::async_trait;
use fred::clients::Client;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::types::config::{Options, Server};
use fred::types::{ClusterHash, CustomCommand, Value};
use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::connect::following_slots;
use super::layout::decode_expiring;
use super::{RedisStore, bytes, fault};
use crate::authority::ports::{Clock as _, StoreError};
use crate::domain::revocation::{Owner, RevocationEntry};
use crate::store::scan::{Condition, Part, Row, Scan};

/// How many keys Redis looks at in one step, during which it serves nobody else.
const KEYS_A_STEP: &str = "512";

#[async_trait]
impl Scan for RedisStore {
    async fn scan(&self, rows: mpsc::Sender<Row>) -> Result<(), StoreError> {
        for server in self.connections.primaries() {
            let mut cursor = "0".to_owned();
            loop {
                let arguments = [cursor.as_str(), "MATCH", &self.keys.every(), "COUNT", KEYS_A_STEP].map(str::to_owned);
                let (next, names): (String, Vec<String>) = self
                    .on(server.as_ref())
                    .custom(command("SCAN"), arguments.to_vec())
                    .await
                    .map_err(|error| fault::of_read(&error))?;
                for row in try_join_all(names.iter().map(|name| self.row(name))).await?.into_iter().flatten() {
                    if rows.send(row).await.is_err() {
                        return Ok(());
                    }
                }
                cursor = next;
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn entries(&self) -> Result<Vec<(Option<Owner>, RevocationEntry)>, StoreError> {
        let logs = self.log.snapshots().await?.into_iter().flat_map(|(_, log)| log);
        Ok(logs.map(|linked| (linked.owner, linked.entry)).collect())
    }

    async fn condition(&self) -> Result<Condition, StoreError> {
        let mut parts = Vec::new();
        for server in self.connections.primaries() {
            let client = self.on(server.as_ref());
            let asked = Instant::now();
            let _: Value =
                client.custom(command("PING"), Vec::<String>::new()).await.map_err(|error| fault::of_read(&error))?;
            let took = asked.elapsed();
            let info: String =
                client.custom(command("INFO"), Vec::<String>::new()).await.map_err(|error| fault::of_read(&error))?;
            let mut facts = vec![("latency", format!("{:.3} ms", took.as_secs_f64() * 1000.0))];
            facts.extend(told(&info));
            let name = server.map_or_else(|| self.address.clone(), |server| server.to_string());
            parts.push(Part { name, facts });
        }
        Ok(Condition { topology: self.topology, parts })
    }
}

impl RedisStore {
    async fn row(&self, name: &str) -> Result<Option<Row>, StoreError> {
        let Some(key) = self.keys.record_of(name) else { return Ok(None) };
        let found: Option<Value> =
            following_slots(|| self.connections.common().get(name)).await.map_err(|error| fault::of_read(&error))?;
        let Some(found) = found else { return Ok(None) };
        let record = decode_expiring(&bytes(found)?, self.clock.now())?;
        Ok(record.map(|(stored, expires)| Row { key, stored, expires }))
    }

    /// The client, talking to one node of a Cluster.
    fn on(&self, server: Option<&Server>) -> fred::clients::WithOptions<Client> {
        self.connections.common().with_options(&Options { cluster_node: server.cloned(), ..Options::default() })
    }
}

/// What INFO says that an operator asks for.
fn told(info: &str) -> Vec<(&'static str, String)> {
    const SHOWN: [(&str, &str); 7] = [
        ("version", "redis_version"),
        ("role", "role"),
        ("replicas", "connected_slaves"),
        ("memory", "used_memory_human"),
        ("memory limit", "maxmemory_human"),
        ("eviction", "maxmemory_policy"),
        ("append-only file", "aof_enabled"),
    ];
    let info: HashMap<_, _> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let value = |field| match (field, info.get(field).copied()) {
        ("aof_enabled", Some("1")) => "on",
        ("aof_enabled", Some(_)) => "off",
        ("maxmemory_human", Some("0B")) => "none",
        (_, value) => value.unwrap_or("unknown"),
    };
    SHOWN.iter().map(|(name, field)| (*name, value(*field).to_owned())).collect()
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::Random, false)
}
