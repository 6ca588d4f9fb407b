//! What a store keeps once its server has stopped, and for how long.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use token_authority::authority::ports::{RecordKey, RecordKind};
use token_authority::clock::{Clock as _, SystemClock};
use token_authority::config::{Config, StoreUrl};
use token_authority::domain::time::Timestamp;
use token_authority::proto::v1;
use token_authority::store::embedded::EmbeddedStore;
use token_authority::store::scan::Scan as _;
use token_authority::system::SystemEntropy;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::backend::Backend;
use crate::boot;
use crate::redis_server::{RedisServer, Reply};
use crate::test_server::TestServer;

/// What is no subject's has no end: keys, what a realm decided, and where its log stands.
const EXEMPT_IN_REDIS: [&str; 4] = ["vault", "layout", "head", "r:"];
/// How long a store keeps what has expired: clocks differ.
const SLACK: Duration = Duration::from_secs(60);

/// Something of a subject's.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) name: String,
    /// How long the store keeps it; `None`: for ever.
    pub(crate) left: Option<Duration>,
}

/// Stops the server, and looks at everything of a subject's in its store: there is something, and all
/// of it goes by itself, `longest` after its last change at the latest.
pub(crate) async fn all_of_it_ends(server: TestServer, longest: Duration) {
    let (backend, now) = (server.backend(), server.clock().now());
    boot::stop(server).await;
    let kept = look_into(&backend, now).await;
    assert!(!kept.is_empty());
    for one in &kept {
        assert!(one.left.is_some_and(|left| !left.is_zero() && left <= longest + 2 * SLACK), "{one:?}");
    }
}

/// Lets `longest` pass, with nobody to tidy up but the store itself: nothing is left of what was there.
pub(crate) async fn nothing_is_left_after(server: TestServer, longest: Duration) {
    let passed = longest + 3 * SLACK;
    server.pass(passed);
    let (backend, now) = (server.backend(), server.clock().now());
    match &*backend {
        Backend::Embedded(_) => {
            // What has expired goes with the next commit.
            let (realm, subject) = (server.realm(), "somebody later".to_owned());
            let later = v1::RevokeAllSessionsRequest { realm, subject, ..Default::default() };
            server.sessions.clone().revoke_all_sessions(later).await.expect("revokes");
            boot::stop(server).await;
            let kept = look_into(&backend, now).await;
            assert!(kept.iter().all(|one| one.left.is_some_and(|left| !left.is_zero())), "{kept:?}");
        }
        Backend::Redis(redis) => {
            boot::stop(server).await;
            assert!(!look_into(&backend, now).await.is_empty());
            elapse(redis.redis(), passed);
            let gone = async {
                while !look_into(&backend, now).await.is_empty() {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(20), gone).await.expect("Redis lets go of it");
        }
    }
}

async fn look_into(backend: &Backend, now: Timestamp) -> Vec<Kept> {
    match backend {
        Backend::Embedded(_) => embedded(backend, now).await,
        Backend::Redis(redis) => in_redis(redis.redis()),
    }
}

async fn embedded(backend: &Backend, now: Timestamp) -> Vec<Kept> {
    let mut config = Config::default();
    backend.configure(&mut config);
    let StoreUrl::Embedded(directory) = config.store else { unreachable!("an embedded store") };
    // By the machine's clock, which is long before the test's: nothing looks expired.
    let clock = Arc::new(SystemClock::default());
    let store = EmbeddedStore::open_existing(&directory, clock, Arc::new(SystemEntropy)).expect("a store");
    let (rows, mut read) = mpsc::channel(10_000);
    store.scan(rows).await.expect("scans");
    let mut kept = Vec::new();
    while let Some(row) = read.recv().await {
        if !is_exempt(&row.key) {
            let left = row.expires.map(|expires| expires.since(now));
            kept.push(Kept { name: format!("{:?}", row.key), left });
        }
    }
    let entries = store.entries().await.expect("reads").into_iter();
    kept.extend(entries.map(|(_, entry)| Kept { name: format!("{entry:?}"), left: Some(entry.until.since(now)) }));
    kept
}

fn is_exempt(key: &RecordKey) -> bool {
    matches!(key.kind(), RecordKind::Vault | RecordKind::Realm)
}

fn in_redis(redis: &RedisServer) -> Vec<Kept> {
    let kept = redis.keys().into_iter().map(|key| {
        let Ok(Reply::Integer(ttl)) = redis.run_bytes(&[b"PTTL", &key]) else { panic!("no TTL") };
        let name = String::from_utf8(key).expect("a readable key");
        Kept { name, left: u64::try_from(ttl).ok().map(Duration::from_millis) }
    });
    kept.filter(|kept| {
        let (_, kind) = kept.name.split_once("}:").expect("a partition");
        !EXEMPT_IN_REDIS.iter().any(|exempt| kind.starts_with(exempt))
    })
    .collect()
}

/// Has Redis believe that some time has passed: what ends within it ends now.
fn elapse(redis: &RedisServer, time: Duration) {
    for one in in_redis(redis) {
        let left = one.left.unwrap_or_else(|| panic!("{} has no end", one.name)).saturating_sub(time);
        redis.run(&["PEXPIRE", &one.name, &left.as_millis().max(1).to_string()]);
    }
}

/// All bytes that the store of a running server has written: its files, and each value that Redis holds.
pub(crate) fn dump(backend: &Backend) -> Vec<u8> {
    match backend {
        Backend::Embedded(embedded) => files(embedded.directory()),
        Backend::Redis(redis) => {
            let redis = redis.redis();
            let mut bytes = files(redis.directory());
            for (key, (value, _)) in redis.dump() {
                bytes.extend(key);
                bytes.extend(value);
            }
            bytes
        }
    }
}

fn files(directory: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("a file").path();
        bytes.extend(if path.is_dir() { files(&path) } else { std::fs::read(path).expect("its bytes") });
    }
    bytes
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
