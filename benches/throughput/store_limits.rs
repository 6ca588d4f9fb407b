//! What nothing behind a store can beat: commits to each, and the sealing of records, inside this process
//! on the server's cores and without gRPC. Of a Redis it is what a commit costs its client.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use token_authority::authority::ports::{
    Commit, LogUpdate, Outcome, RecordKey, Seen, Store, StoreError, Stored, Version,
};
use token_authority::domain::ids::{RealmName, SubjectKey};
use token_authority::domain::revocation::Revision;
use token_authority::store::embedded::EmbeddedStore;
use token_authority::store::key_encryption_key::KeyEncryptionKey;
use token_authority::store::redis::{RedisStore, Safety, Topology};
use token_authority::store::sealing::SealedStore;
use token_authority::system::{SystemClock, SystemEntropy};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cores::CORES;
use crate::limits::{on_all_cores, random, total};
use crate::load::{CALLERS, Measured};
use crate::stores::RECORD_BYTES;
use crate::{Failure, process};

/// Commits records to an embedded store from as many tasks as there are callers, each its own and one at a time.
pub(crate) fn embedded(directory: &Path, work: Work, time: Duration) -> Result<Measured, Failure> {
    CORES.run_as_server(async {
        let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(SystemEntropy));
        all_callers(&Arc::new(EmbeddedStore::open(directory, clock, entropy)?), work, time).await
    })?
}

/// The same to a Redis, of which it is what the client does.
pub(crate) fn redis(url: &str, work: Work, time: Duration) -> Result<Measured, Failure> {
    CORES.run_as_server(async {
        let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(SystemEntropy));
        let topology = if url.starts_with("redis-cluster") { Topology::Cluster } else { Topology::Standalone };
        let store = Arc::new(RedisStore::open(topology, url, Safety::Required, clock, entropy).await?);
        let measured = all_callers(&store, work, time).await;
        store.close().await;
        measured
    })?
}

/// Opens and seals records, in a store that keeps nothing.
pub(crate) async fn sealing(time: Duration) -> Result<Measured, Failure> {
    let key = KeyEncryptionKey::new([7; 32].into());
    let store = SealedStore::open(Arc::new(Still::default()), &[key], &SystemEntropy).await?;
    let commit = record()?;
    store.commit(&commit).await?;
    let once = || {
        let loaded = store.load(&commit.key).now_or_never();
        let committed = store.commit(&commit).now_or_never();
        matches!((loaded, committed), (Some(Ok(Some(_))), Some(Ok(Outcome::Committed(_)))))
    };
    Ok(on_all_cores(time, once))
}

/// What is done again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Work {
    Load,
    Commit,
    LoadAndCommit,
}

impl Work {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Commit => "commit",
            Self::LoadAndCommit => "load and commit",
        }
    }
}

async fn all_callers(store: &Arc<impl Store>, work: Work, time: Duration) -> Result<Measured, Failure> {
    let before = process::cpu_alone(std::process::id());
    let start = Instant::now();
    let mut working = JoinSet::new();
    for _ in 0..CALLERS {
        working.spawn(repeat(store.clone(), work, start + time));
    }
    let mut done = 0;
    while let Some(finished) = working.join_next().await {
        done += finished??;
    }
    Ok(total(done, start, before))
}

async fn repeat(store: Arc<impl Store>, work: Work, end: Instant) -> Result<u32, String> {
    let text = |error: StoreError| error.to_string();
    let mut commit = record().map_err(|error| error.to_string())?;
    store.commit(&commit).await.map_err(text)?;
    let mut done = 0;
    while Instant::now() < end {
        if matches!(work, Work::Load | Work::LoadAndCommit) {
            store.load(&commit.key).await.map_err(text)?.ok_or("the record is gone")?;
        }
        if matches!(work, Work::Commit | Work::LoadAndCommit) {
            commit.expected = Some(commit.id);
            commit.id = Version(random());
            if store.commit(&commit).await.map_err(text)? == Outcome::Conflict {
                return Err("a conflict without a rival".to_owned());
            }
        }
        done += 1;
    }
    Ok(done)
}

/// The first commit of a record that nobody else has.
fn record() -> Result<Commit, Failure> {
    Ok(Commit {
        id: Version(random()),
        key: RecordKey::subject(RealmName::parse("bench")?, SubjectKey(random())),
        expected: None,
        bytes: vec![0; RECORD_BYTES].into(),
        expires: None,
        revocations: Vec::new(),
    })
}

/// A store of a vault and one record, each as it was first written.
#[derive(Debug, Default)]
struct Still {
    vault: OnceLock<Stored>,
    record: OnceLock<Stored>,
}

impl Still {
    fn place(&self, key: &RecordKey) -> &OnceLock<Stored> {
        if *key == RecordKey::VAULT { &self.vault } else { &self.record }
    }
}

#[async_trait::async_trait]
impl Store for Still {
    fn partitions(&self) -> u16 {
        1
    }

    fn partition(&self, _: &RecordKey) -> u16 {
        0
    }

    async fn load(&self, key: &RecordKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.place(key).get().cloned())
    }

    async fn commit(&self, commit: &Commit) -> Result<Outcome, StoreError> {
        self.place(&commit.key).get_or_init(|| Stored { bytes: commit.bytes.clone(), version: commit.id });
        Ok(Outcome::Committed(Revision::default()))
    }

    async fn proof(&self, _: &RecordKey) -> Result<Revision, StoreError> {
        Ok(Revision::default())
    }

    async fn follow(&self) -> Result<mpsc::Receiver<LogUpdate>, StoreError> {
        Err(StoreError::Unavailable("it keeps no log".into()))
    }

    async fn watch(&self, _: &RecordKey) -> Result<watch::Receiver<Seen>, StoreError> {
        Err(StoreError::Unavailable("nothing changes".into()))
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
