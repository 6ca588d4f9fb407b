//! `store status`: what a store holds and how it is.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use futures::future::join;
use tokio::sync::mpsc;

use crate::app::store::OpenStore;
use crate::authority::company::{PRESENT_EVERY, Presence, presence};
use crate::authority::ports::{LogUpdate, Peers, RecordKind, StoreError};
use crate::cli::Streams;
use crate::cli::answer::Lines;
use crate::cli::client::ClientFlags;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Environment, Flags, StoreSafety, StoreUrl};
use crate::domain::revocation::Position;
use crate::store::scan::{Condition, Row, Scan};

use super::{system, url_or_file};

/// Say what a store holds, and how its servers are
///
/// Reads every record's name, so it takes a while on a large store; writes nothing. Listens for a moment to the servers
/// on a Redis, which name the subscribers of revocations that lag. A directory is locked while a
/// server uses it: stop the server first.
#[derive(Debug, Args)]
pub(in crate::cli) struct Status {
    /// Configuration file of the server whose store it is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the store is: embedded:DIR, or a Redis, or @FILE with that in it [default: embedded:./data]
    #[arg(long, value_name = "URL", value_parser = url_or_file)]
    store: Option<StoreUrl>,
}

/// Long enough to hear each server once.
const LISTENED: Duration = PRESENT_EVERY.saturating_mul(2);

/// What was found.
struct Found {
    condition: Condition,
    partitions: u16,
    realms: usize,
    subjects: usize,
    revocations: usize,
    /// Where each log has got to, those that were never written left out.
    heads: Vec<Position>,
    /// What servers on the store say of themselves; none can be there but on a Redis.
    servers: Vec<Presence>,
}

impl Status {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let told = Flags { config: self.config, store: self.store, ..Flags::default() };
        let url = Config::load(told, &Environment::of_process())?.store;
        let (clock, entropy) = system();
        let store =
            OpenStore::open_existing(&url, StoreSafety::Waived, clock, entropy).await.map_err(Failure::refused)?;
        let listening = listen(store.peers(), if store.is_ours_alone() { Duration::ZERO } else { LISTENED });
        let (found, servers) = join(look(store.scan()), listening).await;
        store.close().await;
        let found = Found { servers, ..found.map_err(Failure::refused)? };
        if flags.json {
            writeln!(streams.out, "{}", json(&found))?;
        } else {
            lines(&found).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}

/// Who says something within that time.
async fn listen(peers: Arc<dyn Peers>, time: Duration) -> Vec<Presence> {
    let mut said = peers.hear();
    let mut heard = BTreeMap::new();
    let listening = async {
        while let Some(words) = said.next().await {
            if let Some(presence) = presence(&words) {
                heard.insert(presence.instance, presence);
            }
        }
    };
    // They say it for ever.
    let _ = tokio::time::timeout(time, listening).await;
    heard.into_values().collect()
}

async fn look(store: Arc<dyn Scan>) -> Result<Found, StoreError> {
    let condition = store.condition().await?;
    let (rows, mut received) = mpsc::channel::<Row>(256);
    // A scan may send a record twice.
    let (mut realms, mut subjects) = (HashSet::new(), HashSet::new());
    let counted = async {
        while let Some(row) = received.recv().await {
            match row.key.kind() {
                RecordKind::Vault | RecordKind::ClientAssertion => {}
                RecordKind::Realm => drop(realms.insert(row.key)),
                RecordKind::Subject => drop(subjects.insert(row.key)),
            }
        }
    };
    join(store.scan(rows), counted).await.0?;
    let (mut revocations, mut heads) = (0, Vec::new());
    let mut updates = store.follow().await?;
    while heads.len() < usize::from(store.partitions()) {
        match updates.recv().await {
            Some(LogUpdate::Snapshot { head, entries }) => {
                revocations += entries.len();
                heads.push(head);
            }
            Some(LogUpdate::Entry { .. }) => revocations += 1,
            Some(LogUpdate::Lost { .. } | LogUpdate::Confirmed { .. }) => {}
            None => return Err(StoreError::Unavailable("the revocation log ended".into())),
        }
    }
    heads.retain(|head| head.number > 0);
    let (partitions, realms, subjects) = (store.partitions(), realms.len(), subjects.len());
    Ok(Found { condition, partitions, realms, subjects, revocations, heads, servers: Vec::new() })
}

fn json(found: &Found) -> serde_json::Value {
    let parts = found.condition.parts.iter().map(|part| {
        let facts = part.facts.iter().map(|(name, value)| (name.replace([' ', '-'], "_"), value.as_str().into()));
        let mut object: serde_json::Map<_, serde_json::Value> = facts.collect();
        object.insert("name".to_owned(), part.name.as_str().into());
        object.into()
    });
    let heads =
        found.heads.iter().map(|head| serde_json::json!({ "partition": head.partition, "number": head.number }));
    let lagging = found
        .servers
        .iter()
        .flat_map(|server| &server.named)
        .map(|one| serde_json::json!({ "name": one.name, "realm": one.realm, "lag_seconds": one.lag.as_secs() }));
    serde_json::json!({
        "topology": found.condition.topology,
        "partitions": found.partitions,
        "realms": found.realms,
        "subjects": found.subjects,
        "revocations": found.revocations,
        "heads": heads.collect::<Vec<_>>(),
        "servers": found.servers.len(),
        "subscribers": subscribers(found),
        "lagging": found.servers.iter().map(|server| server.lagging).sum::<usize>(),
        "lagging_subscribers": lagging.collect::<Vec<_>>(),
        "parts": parts.collect::<Vec<serde_json::Value>>(),
    })
}

fn subscribers(found: &Found) -> usize {
    found.servers.iter().flat_map(|server| server.subscribers.values()).sum()
}

fn lines(found: &Found) -> Lines {
    let newest = found.heads.iter().map(|head| head.number).max();
    let mut lines = Lines::default()
        .text("topology", found.condition.topology)
        .text("partitions", &found.partitions.to_string())
        .text("realms", &found.realms.to_string())
        .text("subjects", &found.subjects.to_string())
        .text("revocations", &found.revocations.to_string())
        .text(
            "log",
            &newest.map_or("empty".to_owned(), |number| {
                format!("{} partitions written, up to {number}", found.heads.len())
            }),
        );
    if found.condition.topology != "embedded" {
        let lagging: usize = found.servers.iter().map(|server| server.lagging).sum();
        lines = lines
            .text("servers heard", &found.servers.len().to_string())
            .text("subscribers", &format!("{}, {lagging} of them lag", subscribers(found)));
    }
    for one in found.servers.iter().flat_map(|server| &server.named) {
        lines = lines.text("lags", &format!("{} in realm {}, for {} s", one.name, one.realm, one.lag.as_secs()));
    }
    for part in &found.condition.parts {
        lines = lines.text(if found.condition.topology == "embedded" { "file" } else { "server" }, &part.name);
        for (name, value) in &part.facts {
            lines = lines.text(name, value);
        }
    }
    lines
}
