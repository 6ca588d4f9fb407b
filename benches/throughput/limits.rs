//! What nothing behind a signature or a store can beat: signing, verifying and sealing on all cores, and
//! commits to a store, each inside this process and without gRPC.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use token_authority::authority::ports::{
    Commit, Entropy as _, LogUpdate, Outcome, RecordKey, Store, StoreError, Stored, Version,
};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::{RealmName, SessionId, Sid, SubjectKey};
use token_authority::domain::revocation::Revision;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{RefreshToken, SessionSecret};
use token_authority::signing::key::SigningKey;
use token_authority::signing::refresh_token::RefreshKey;
use token_authority::store::embedded::EmbeddedStore;
use token_authority::store::key_encryption_key::KeyEncryptionKey;
use token_authority::store::redis::{RedisStore, Safety, Topology};
use token_authority::store::sealing::SealedStore;
use token_authority::system::{SystemClock, SystemEntropy};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::load::{CALLERS, Measured};
use crate::{Failure, cores, process};

/// About the part of a token that is signed, and about the record of a subject with one session.
const TOKEN_BYTES: usize = 600;
const RECORD_BYTES: usize = 450;

/// Makes a key as a realm does.
pub(crate) fn key(algorithm: Algorithm) -> Result<SigningKey, Failure> {
    Ok(SigningKey::from_pkcs8(algorithm, &SigningKey::generate(algorithm)?)?)
}

/// Signs on all cores.
pub(crate) fn sign(key: &SigningKey, time: Duration) -> Measured {
    on_all_cores(time, || key.sign(&[b'x'; TOKEN_BYTES]).is_ok())
}

/// Verifies on all cores.
pub(crate) fn verify(key: &SigningKey, time: Duration) -> Result<Measured, Failure> {
    let message = [b'x'; TOKEN_BYTES];
    let (signature, public) = (key.sign(&message)?, key.verify_key(RealmName::parse("bench")?)?);
    Ok(on_all_cores(time, || public.verifies(&message, &signature)))
}

/// Does something again and again on all cores, until the time is over or it is done.
pub(crate) fn on_all_cores(time: Duration, work: impl Fn() -> bool + Sync) -> Measured {
    let before = process::cpu(std::process::id());
    let start = Instant::now();
    let count = || {
        let mut done = 0;
        while start.elapsed() < time && work() {
            done += 1;
        }
        done
    };
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores()).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum::<u32>()
    });
    total(done, start, before)
}

fn total(done: u32, start: Instant, before: Option<Duration>) -> Measured {
    let took = start.elapsed();
    let used = process::cpu(std::process::id()).zip(before).map(|(after, before)| after.saturating_sub(before));
    Measured {
        per_second: f64::from(done) / took.as_secs_f64(),
        cpu: used.map(|used| used / done.max(1)),
        ..Measured::default()
    }
}

/// Commits records from as many tasks as there are callers, each its own and one at a time.
pub(crate) async fn commit(directory: &Path, time: Duration) -> Result<Measured, Failure> {
    let store = Arc::new(EmbeddedStore::open(directory, Arc::new(SystemClock::default()), Arc::new(SystemEntropy))?);
    all_callers(&store, Reads::Never, time).await
}

/// Reads and commits records in Redis from as many tasks as there are callers: what that costs the
/// client, since Redis is another process.
pub(crate) async fn load_and_commit(url: &str, time: Duration) -> Result<Measured, Failure> {
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(SystemEntropy));
    let store = RedisStore::open(Topology::Standalone, url, Safety::Required, clock, entropy).await?;
    let store = Arc::new(store);
    let measured = all_callers(&store, Reads::BeforeEachCommit, time).await;
    store.close().await;
    measured
}

/// Opens and seals refresh tokens on all cores.
pub(crate) fn refresh_tokens(time: Duration) -> Result<Measured, Failure> {
    let (key, realm) = (RefreshKey::new(&[7; RefreshKey::BYTES]), RealmName::parse("bench")?);
    let session = Sid { pepper_id: 1, subject: SubjectKey(random()), session: SessionId(random()) };
    let (secret, expires) = (SessionSecret::new(random()), Timestamp::from_millis(i64::MAX));
    let token = RefreshToken { session, secret, generation: 1, expires };
    let text = key.seal(&realm, &token);
    Ok(on_all_cores(time, || key.open(&realm, &text).is_some_and(|token| !key.seal(&realm, &token).is_empty())))
}

/// Opens and seals records on all cores, in a store that keeps nothing.
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

#[derive(Clone, Copy)]
enum Reads {
    Never,
    BeforeEachCommit,
}

async fn all_callers(store: &Arc<impl Store>, reads: Reads, time: Duration) -> Result<Measured, Failure> {
    let before = process::cpu(std::process::id());
    let start = Instant::now();
    let mut working = JoinSet::new();
    for _ in 0..CALLERS {
        working.spawn(commits(store.clone(), reads, start + time));
    }
    let mut done = 0;
    while let Some(finished) = working.join_next().await {
        done += finished??;
    }
    Ok(total(done, start, before))
}

async fn commits(store: Arc<impl Store>, reads: Reads, end: Instant) -> Result<u32, String> {
    let mut commit = record().map_err(|error| error.to_string())?;
    let mut done = 0;
    while Instant::now() < end {
        if matches!(reads, Reads::BeforeEachCommit) {
            store.load(&commit.key).await.map_err(|error| error.to_string())?;
        }
        match store.commit(&commit).await.map_err(|error| error.to_string())? {
            Outcome::Committed(_) => done += 1,
            Outcome::Conflict => return Err("a conflict without a rival".to_owned()),
        }
        commit.expected = Some(commit.id);
        commit.id = Version(random());
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

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    SystemEntropy.fill(&mut bytes);
    bytes
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
