//! What the tests of the stores are made of: a clock to turn, repeatable randomness, commits, a
//! follower that remembers.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use token_authority::authority::ports::{
    Clock, Commit, Entropy, LogUpdate, Outcome, RecordKey, Store, StoreError, Version,
};
use token_authority::domain::ids::{RealmName, SubjectKey};
use token_authority::domain::revocation::{Position, RevocationEntry, RevocationScope};
use token_authority::domain::time::Timestamp;
use token_authority::store::embedded::{EmbeddedStore, Limits};
use token_authority::store::key_encryption_key::KeyEncryptionKey;
use token_authority::store::redis::{RedisStore, Safety, Topology};
use token_authority::store::sealing::SealedStore;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::redis_fleet::RedisFleet;
use super::redis_server::RedisServer;

pub(crate) const NOON: Timestamp = Timestamp::from_millis(1_780_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug)]
pub(crate) struct TurnedClock(AtomicI64);

impl TurnedClock {
    pub(crate) fn at(time: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(time.millis())))
    }

    pub(crate) fn pass(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).expect("a short time");
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// The same bytes in every run for the same seed.
#[derive(Debug)]
pub(crate) struct SeededEntropy {
    seed: String,
    counter: AtomicU64,
}

impl SeededEntropy {
    pub(crate) fn named(seed: &str) -> Arc<Self> {
        Arc::new(Self { seed: seed.to_owned(), counter: AtomicU64::new(0) })
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let mut context = Context::new(&SHA256);
            context.update(self.seed.as_bytes());
            context.update(&self.counter.fetch_add(1, Ordering::SeqCst).to_be_bytes());
            chunk.copy_from_slice(&context.finish().as_ref()[..chunk.len()]);
        }
    }
}

/// 16 bytes that no other test and no earlier run has.
pub(crate) fn fresh() -> [u8; 16] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's randomness");
    bytes
}

pub(crate) fn realm(name: &str) -> RealmName {
    RealmName::parse(name).expect("a realm")
}

pub(crate) fn fresh_key() -> RecordKey {
    RecordKey::subject(realm("web"), SubjectKey(fresh()))
}

pub(crate) fn commit(key: &RecordKey, expected: Option<Version>, bytes: &[u8]) -> Commit {
    Commit {
        id: Version(fresh()),
        key: key.clone(),
        expected,
        bytes: bytes.to_vec().into(),
        expires: None,
        revocations: Vec::new(),
    }
}

/// The entry that ends one token, recognisable by its 16 bytes.
pub(crate) fn revocation(token: [u8; 16]) -> RevocationEntry {
    RevocationEntry { scope: RevocationScope::Token(token), until: NOON + DAY }
}

/// A commit with one revocation entry that bears the commit's own id.
pub(crate) fn revoking(key: &RecordKey, expected: Option<Version>, bytes: &[u8]) -> Commit {
    let mut commit = commit(key, expected, bytes);
    commit.revocations = vec![revocation(commit.id.0)];
    commit
}

pub(crate) fn position(outcome: Result<Outcome, StoreError>) -> Position {
    match outcome {
        Ok(Outcome::Committed(revision)) => revision.positions()[0],
        other => panic!("not committed: {other:?}"),
    }
}

pub(crate) fn kek(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::new(Zeroizing::new([byte; 32]))
}

pub(crate) fn open(directory: &Path, clock: &Arc<TurnedClock>) -> EmbeddedStore {
    let entropy = SeededEntropy::named("store");
    EmbeddedStore::open_limited(directory, &Limits::default(), clock.clone(), entropy).expect("an open store")
}

/// A store in Redis, whose clock is not the test's.
pub(crate) async fn open_redis(topology: Topology, url: &str, clock: &Arc<TurnedClock>) -> RedisStore {
    let entropy = SeededEntropy::named(url);
    RedisStore::open(topology, url, Safety::Waived, clock.clone(), entropy).await.expect("an open store")
}

/// A store under test, and the clock that it reads.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<TurnedClock>,
    /// What the store needs for as long as it is open.
    _below: Box<dyn Any + Send + Sync>,
}

impl Bench {
    pub(crate) async fn embedded() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = TurnedClock::at(NOON);
        Self { store: Arc::new(open(directory.path(), &clock)), clock, _below: Box::new(directory) }
    }

    pub(crate) async fn redis() -> Self {
        let server = RedisServer::start().await;
        let clock = TurnedClock::at(NOON);
        let store = open_redis(Topology::Standalone, &server.url("suite"), &clock).await;
        Self { store: Arc::new(store), clock, _below: Box::new(server) }
    }

    pub(crate) async fn redis_sentinel() -> Self {
        let fleet = RedisFleet::sentinel().await;
        let clock = TurnedClock::at(NOON);
        let store = open_redis(Topology::Sentinel, &fleet.url("suite"), &clock).await;
        Self { store: Arc::new(store), clock, _below: Box::new(fleet) }
    }

    pub(crate) async fn redis_cluster() -> Self {
        let fleet = RedisFleet::cluster().await;
        let clock = TurnedClock::at(NOON);
        let store = open_redis(Topology::Cluster, &fleet.url("suite"), &clock).await;
        Self { store: Arc::new(store), clock, _below: Box::new(fleet) }
    }

    /// The same store, sealed.
    pub(crate) async fn sealed(mut self) -> Self {
        let entropy = SeededEntropy::named("vault");
        let sealed = SealedStore::open(self.store, &[kek(1)], &*entropy).await.expect("an open vault");
        self.store = Arc::new(sealed);
        self
    }
}

/// Follows the log, and checks what every follower may rely on.
pub(crate) struct Follower {
    updates: mpsc::Receiver<LogUpdate>,
    partitions: usize,
    /// How far each partition has been read.
    heads: HashMap<u16, Position>,
    pub(crate) known: HashSet<RevocationEntry>,
    pub(crate) snapshots: usize,
    /// Entries as they arrived one by one.
    pub(crate) sequence: Vec<RevocationEntry>,
}

impl Follower {
    /// With a snapshot of each partition.
    pub(crate) async fn of(store: &dyn Store) -> Self {
        let updates = store.follow().await.expect("a stream");
        let partitions = usize::from(store.partitions());
        let (heads, known, sequence) = (HashMap::new(), HashSet::new(), Vec::new());
        let mut follower = Self { updates, partitions, heads, known, snapshots: 0, sequence };
        while follower.heads.len() < partitions {
            follower.next().await;
        }
        follower
    }

    /// How far a partition has been read.
    pub(crate) fn head(&self, partition: u16) -> Option<Position> {
        self.heads.get(&partition).copied()
    }

    /// Whether everything but the first snapshots came as single entries, so in order.
    pub(crate) fn told_one_by_one(&self) -> bool {
        self.snapshots == self.partitions
    }

    pub(crate) async fn next(&mut self) {
        let update = tokio::time::timeout(Duration::from_secs(20), self.updates.recv()).await;
        self.take(update.expect("an update in time").expect("an open stream"));
    }

    fn take(&mut self, update: LogUpdate) {
        let head = match update {
            LogUpdate::Snapshot { head, entries } => {
                self.snapshots += 1;
                self.known.extend(entries);
                assert!(self.head(head.partition) <= Some(head), "a snapshot goes back");
                head
            }
            LogUpdate::Entry { position, entry } => {
                let before = self.head(position.partition);
                assert!(before.is_some(), "an entry before its partition's snapshot");
                assert!(before < Some(position), "an entry out of order");
                self.sequence.push(entry.clone());
                self.known.insert(entry);
                position
            }
            LogUpdate::Confirmed { .. } => return,
            LogUpdate::Lost { entries } => panic!("nothing was lost: {entries:?}"),
        };
        self.heads.insert(head.partition, head);
    }

    /// What has been sent already, without waiting.
    pub(crate) fn take_sent(&mut self) {
        while let Ok(update) = self.updates.try_recv() {
            self.take(update);
        }
    }

    /// Waits until the log has been read up to there.
    pub(crate) async fn reach(&mut self, position: Position) {
        while self.head(position.partition).is_none_or(|head| head.number < position.number) {
            self.next().await;
        }
    }
}
