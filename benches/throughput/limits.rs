//! What nothing behind a signature or a disk can beat: signing and verifying on all cores, and commits
//! to the embedded store, all three inside this process and without a network.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use token_authority::authority::ports::{Commit, Entropy as _, Outcome, RecordKey, Store as _, Version};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::{RealmName, SubjectKey};
use token_authority::signing::key::SigningKey;
use token_authority::store::embedded::EmbeddedStore;
use token_authority::system::{SystemClock, SystemEntropy};
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
    let before = process::cpu(std::process::id());
    let start = Instant::now();
    let mut working = JoinSet::new();
    for _ in 0..CALLERS {
        working.spawn(commits(store.clone(), start + time));
    }
    let mut done = 0;
    while let Some(finished) = working.join_next().await {
        done += finished??;
    }
    Ok(total(done, start, before))
}

async fn commits(store: Arc<EmbeddedStore>, end: Instant) -> Result<u32, String> {
    let random = || {
        let mut bytes = [0; 16];
        SystemEntropy.fill(&mut bytes);
        bytes
    };
    let realm = RealmName::parse("bench").map_err(|error| error.to_string())?;
    let mut commit = Commit {
        id: Version(random()),
        key: RecordKey::subject(realm, SubjectKey(random())),
        expected: None,
        bytes: vec![0; RECORD_BYTES],
        expires: None,
        revocations: Vec::new(),
    };
    let mut done = 0;
    while Instant::now() < end {
        match store.commit(&commit).await.map_err(|error| error.to_string())? {
            Outcome::Committed(_) => done += 1,
            Outcome::Conflict => return Err("a conflict without a rival".to_owned()),
        }
        commit.expected = Some(commit.id);
        commit.id = Version(random());
    }
    Ok(done)
}
