//! The store in a Redis or Valkey, alone, behind Sentinels or as a Cluster: for any number of servers
//! at a time. Keeps what it is given as it is (`sealing` is a layer above); knows no tokens.
//!
//! A commit is a step of a script on one partition (`layout`, `commits`). It is sent once; what may have been
//! written but was not answered is an unknown outcome, and the same commit sent again is harmless.

mod address;
mod checks;
mod clock;
mod commits;
mod connect;
mod fault;
mod follower;
mod layout;
mod log;
mod open_error;
mod own_connections;
mod peers;
mod reads;
mod recent;
mod replicas;
mod scan;
mod script;
mod together;
mod turn;
mod watcher;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::error::Error;
use fred::interfaces::KeysInterface as _;
use fred::types::{SetOptions, Value};
use futures::future::try_join_all;
use tokio::sync::{mpsc, watch};
use tracing::warn;

pub use address::Topology;
pub use open_error::OpenError;

use address::{Address, Wait};
use clock::CorrectedClock;
use commits::{Commits, Way};
use connect::Connections;
use follower::Follower;
use layout::{Keys, LAYOUT, PARTITIONS, decode_head, decode_record, partition};
use log::{Log, bytes};
use own_connections::Connection;
use reads::{Reads, Wanted};
use recent::Recent;
use replicas::Replicas;
use script::Script;
use together::Together;
use watcher::{Versions, Watcher};

use crate::authority::ports::{Clock, Commit, Entropy, LogUpdate, Outcome, RecordKey, Seen, Store, StoreError, Stored};
use crate::domain::revocation::Revision;
use crate::store::watched::{Joined, Watched};
use crate::tasks::Tasks;

/// Expired data stays this long, so that a clock set back a little finds what it expects.
const GARBAGE_SLACK: Duration = Duration::from_secs(60);
/// What to do with a Redis that would lose what it acknowledged, or whose clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// Refuse it.
    Required,
    /// Use it, with a warning: the operator said so.
    Waived,
}

/// The store in Redis. 256 partitions.
pub struct RedisStore {
    connections: Connections,
    keys: Keys,
    log: Log,
    recent: Arc<Recent>,
    versions: Versions,
    watched: Arc<Watched>,
    /// `None`: nobody waits for one.
    replicas: Option<Replicas>,
    reads: Arc<Reads>,
    commits: Arc<Commits>,
    confirm: Script,
    clock: Arc<CorrectedClock>,
    /// Whether the clock is held against that of Redis.
    safety: Safety,
    tasks: Tasks,
    /// What reports name.
    topology: &'static str,
    address: String,
}

/// What to do where there is no store yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    Made,
    Refused,
}

impl RedisStore {
    /// Connects, and checks that this Redis may be trusted with what it is given.
    pub async fn open(
        topology: Topology,
        url: &str,
        safety: Safety,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        Self::connect(topology, url, safety, Absent::Made, clock, entropy).await
    }

    /// Connects to a store that is there; where there is none, none is made.
    pub async fn open_existing(
        topology: Topology,
        url: &str,
        safety: Safety,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        Self::connect(topology, url, safety, Absent::Refused, clock, entropy).await
    }

    async fn connect(
        topology: Topology,
        url: &str,
        safety: Safety,
        absent: Absent,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let address = Address::parse(topology, url)?;
        let connections = Connections::open(&address).await?;
        let keys = Keys::new(&address.prefix);
        let log = Log::new(connections.common().clone(), keys.clone());
        let versions = Versions { client: connections.common().clone(), keys: keys.clone() };
        let waiting = connections.waiting.clone().zip(address.wait());
        let (clock, tasks) = (Arc::new(CorrectedClock::new(clock)), Tasks::default());
        let together = match Together::of(topology, connections.common(), &keys).await {
            Ok(together) => together,
            Err(error) => {
                connections.close().await;
                return Err(OpenError::Store(fault::of_read(&error)));
            }
        };
        let reads = Reads::new(together, tasks.clone());
        let commits = Commits::new(together, keys.clone(), clock.clone(), entropy, tasks.clone());
        let store = Self {
            connections,
            keys,
            log,
            recent: Arc::new(Recent::new()),
            versions,
            watched: Arc::default(),
            replicas: waiting.map(|(connections, wait)| Replicas::new(connections, wait)),
            reads: Arc::new(reads),
            commits: Arc::new(commits),
            confirm: Script::confirm(),
            clock,
            safety,
            tasks,
            topology: topology.name(),
            address: address.servers(),
        };
        let opened = store.prepare(absent, &address).await;
        if opened.is_err() {
            store.close().await;
        }
        opened.map(|()| store)
    }

    async fn prepare(&self, absent: Absent, address: &Address) -> Result<(), OpenError> {
        let failed = |error: &Error| OpenError::Store(fault::of_read(error));
        let mut problems = Vec::new();
        for server in self.connections.primaries() {
            let found = checks::problems(self.connections.common(), server.as_ref(), self.clock.local()).await;
            problems.extend(found.map_err(|error| failed(&error))?);
        }
        match self.safety {
            Safety::Required if !problems.is_empty() => return Err(OpenError::Unsafe(problems)),
            Safety::Required | Safety::Waived => {}
        }
        for problem in problems {
            warn!(problem, "this Redis is not safe for sessions, and is used all the same");
        }
        if let Some(wait) = address.wait() {
            self.count_replicas(wait).await.map_err(|error| failed(&error))?;
        }
        let commands = self.connections.common();
        let layout = self.keys.layout();
        if absent == Absent::Made {
            let made: Result<Value, _> = commands.set(&layout, LAYOUT, None, Some(SetOptions::NX), false).await;
            made.map_err(|error| failed(&error))?;
        }
        let found: Option<String> = commands.get(&layout).await.map_err(|error| failed(&error))?;
        if found.is_none() {
            return Err(OpenError::Absent { address: address.servers(), prefix: address.prefix.clone() });
        }
        if found.as_deref() != Some(LAYOUT) {
            let (prefix, found) = (address.prefix.clone(), found.unwrap_or_default());
            return Err(OpenError::Layout { prefix, found, expected: LAYOUT });
        }
        self.compare_clocks().await?;
        for channel in [self.keys.channel(), self.keys.peers(), self.keys.hints()] {
            self.connections.listen(&channel).await.map_err(|error| failed(&error))?;
        }
        let (versions, subscriber) = (self.versions.clone(), &self.connections.subscriber);
        let watcher = Watcher::new(versions, subscriber, self.watched.clone(), self.clock.clone());
        self.tasks.spawn_until_stopped(watcher.run());
        Ok(())
    }

    /// Warns of too few. Not refused: they may come back, and nothing that is answered is lost meanwhile.
    async fn count_replicas(&self, wait: Wait) -> Result<(), Error> {
        for server in self.connections.primaries() {
            let connected = checks::replicas(self.connections.common(), server.as_ref()).await?;
            if connected < u64::from(wait.replicas) {
                let server = server.map_or_else(|| self.address.clone(), |server| server.to_string());
                let (wait_replicas, commits) = (wait.replicas, wait.commits.name());
                warn!(server, connected, wait_replicas, "too few replicas: {commits} are answered OUTCOME_UNKNOWN");
            }
        }
        Ok(())
    }

    /// The time that everything kept here is judged by: the local clock, corrected to that of Redis.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Measures every primary's clock, and corrects the local one to that of the first by name, so
    /// that all servers take the same. An operator who waived the safety of the store keeps his own.
    async fn compare_clocks(&self) -> Result<(), StoreError> {
        if self.safety == Safety::Waived {
            return Ok(());
        }
        let mut primaries = self.connections.primaries();
        primaries.sort();
        for (number, server) in primaries.iter().enumerate() {
            let measured = checks::difference(self.connections.common(), server.as_ref(), self.clock.local()).await;
            let measured = measured.map_err(|error| fault::of_read(&error))?;
            let difference = measured.ok_or_else(|| StoreError::Unavailable(checks::NO_TIME.into()))?;
            if number == 0 {
                self.clock.correct(difference);
            }
            if let Some(problem) = difference.problem() {
                let name = server.as_ref().map_or_else(|| self.address.clone(), ToString::to_string);
                return Err(StoreError::Unavailable(format!("{name}: {problem}").into()));
            }
        }
        Ok(())
    }

    /// Does some work, and meanwhile opens a connection that lives where it runs, for all that is asked
    /// there from then on. What is asked before goes over the common one.
    pub async fn at_home<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let _settled = tokio::select! {
            biased;
            done = &mut work => return done,
            settled = self.connections.settle() => settled,
        };
        work.await
    }

    /// Ends followers and connections; later calls are refused.
    pub async fn close(&self) {
        self.watched.close();
        self.connections.close().await;
        self.tasks.finished().await;
    }
}

#[async_trait]
impl Store for RedisStore {
    fn partitions(&self) -> u16 {
        PARTITIONS
    }

    fn partition(&self, key: &RecordKey) -> u16 {
        partition(key)
    }

    async fn load(&self, key: &RecordKey) -> Result<Option<Stored>, StoreError> {
        let now = self.clock.now();
        let wanted = Wanted { partition: partition(key), name: self.keys.record(key) };
        let Connection { client, reads, .. } = self.connections.here();
        match self.reads.read(wanted, reads, client).await? {
            Value::Null => Ok(None),
            found => decode_record(&bytes(found)?, now),
        }
    }

    async fn commit(&self, commit: &Commit) -> Result<Outcome, StoreError> {
        let Connection { client, commits, awaited, .. } = self.connections.here();
        let (turn, way) = match self.replicas.as_ref().filter(|replicas| replicas.are_awaited_by(commit)) {
            Some(replicas) => (awaited, Way::Awaited(replicas.clone())),
            None => (commits, Way::Plain(client)),
        };
        let Some(head) = self.commits.send(commit, turn, way).await? else { return Ok(Outcome::Conflict) };
        // Answered from here on, whether it is ever told by the log or lost before.
        for entry in &commit.revocations {
            self.recent.add(head.partition, commit.key.owner(), entry);
        }
        if !commit.revocations.is_empty() {
            self.recent.answered(head);
        }
        Ok(Outcome::Committed(Revision::at(head)))
    }

    async fn proof(&self, key: &RecordKey) -> Result<Revision, StoreError> {
        let partition = partition(key);
        let head = match &self.replicas {
            None => self.log.head(&self.connections.here().client, partition).await?,
            Some(replicas) => {
                let keys = [self.keys.head(partition), self.keys.log(partition)];
                let (head, acknowledged) = replicas.run(&self.confirm, &keys, &[]).await?;
                acknowledged.and_then(|()| decode_head(partition, &bytes(head)?))?
            }
        };
        Ok(Revision::at(head))
    }

    async fn follow(&self) -> Result<mpsc::Receiver<LogUpdate>, StoreError> {
        let (log, channel, subscriber) = (self.log.clone(), self.keys.channel(), &self.connections.subscriber);
        let (recent, clock) = (self.recent.clone(), self.clock.clone());
        let (follower, updates) = Follower::start(log, subscriber, channel, recent, clock).await?;
        self.tasks.spawn_until_stopped(follower.run());
        Ok(updates)
    }

    async fn watch(&self, key: &RecordKey) -> Result<watch::Receiver<Seen>, StoreError> {
        let (seen, joined) = self.watched.join(key, self.clock.now());
        if joined == Joined::First {
            self.versions.announce(key).await?;
        }
        Ok(seen)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let connections = self.connections.all();
        try_join_all(connections.iter().map(|connection| self.log.head(&connection.client, 0))).await?;
        self.compare_clocks().await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("keys", &self.keys).finish_non_exhaustive()
    }
}
