//! The only way to change a subject's record: transitions of one subject queue here and fold into
//! one load, n transitions, one commit. Knows nothing of what a transition decides.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::domain::fact::Fact;
use crate::domain::ids::SubjectKey;
use crate::domain::refusal::Refusal;
use crate::domain::revocation::{Revision, RevocationEntry};
use crate::domain::subject::SubjectRecord;
use crate::domain::transition::Decision;
use crate::tasks::Tasks;
use crate::verify::revocations::RevocationIndex;

use super::attribution::By;
use super::audit;
use super::error::Error;
use super::persisted;
use super::ports::{Commit, Entropy, LogUpdate, Outcome, RecordKey, Store, StoreError, Version};
use super::sending::send;

/// The most requests for one subject that wait; one more is answered OVERLOADED.
const MAX_WAITING: usize = 1_024;
/// How often a commit that lost a race against another process is decided anew.
const MAX_CONFLICTS: usize = 16;

/// The subjects' records.
#[derive(Debug, Clone)]
pub(super) struct Subjects(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    index: Arc<RevocationIndex>,
    entropy: Arc<dyn Entropy>,
    tasks: Tasks,
    /// An entry exists exactly while a task works on that record.
    queues: Mutex<HashMap<RecordKey, Vec<Box<dyn Job>>>>,
    /// How many commits were left in doubt: their revocations may be in the log and not in the index.
    in_doubt: AtomicU64,
    /// As many of them the index has read the log for.
    settled: tokio::sync::Mutex<u64>,
}

/// What a transition led to, committed.
#[derive(Debug)]
pub(super) struct Committed<A> {
    /// The rules' answer.
    pub answer: Result<A, Refusal>,
    /// What happened.
    pub facts: Vec<Fact>,
    /// Covers the revocations among it; `None` where nothing was written.
    pub revision: Option<Revision>,
}

impl Subjects {
    /// Over a store.
    pub(super) fn new(
        store: Arc<dyn Store>,
        index: Arc<RevocationIndex>,
        entropy: Arc<dyn Entropy>,
        tasks: Tasks,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            index,
            entropy,
            tasks,
            queues: Mutex::default(),
            in_doubt: AtomicU64::new(0),
            settled: tokio::sync::Mutex::new(0),
        }))
    }

    /// Reads a record.
    pub(super) async fn read(&self, key: &RecordKey) -> Result<Option<SubjectRecord>, Error> {
        Ok(self.0.load(key).await?.0)
    }

    /// Runs a transition and commits what it decides. It may run several times, each on a newer
    /// record; only the last run counts. If the caller goes away before it has run, it never runs:
    /// what is decided for nobody could let a token's leeway pass. Later, the commit goes on.
    pub(super) async fn change<A: Send + 'static>(
        &self,
        key: RecordKey,
        subject: SubjectKey,
        transition: impl FnMut(Option<&SubjectRecord>) -> Decision<A> + Send + 'static,
    ) -> Result<Committed<A>, Error> {
        let (done, outcome) = oneshot::channel();
        let job = Waiting { by: By::current(), subject, transition, decision: None, done };
        self.enqueue(key, Box::new(job))?;
        outcome.await.map_err(|_| Error::internal("the task of a subject ended early"))?
    }

    fn enqueue(&self, key: RecordKey, job: Box<dyn Job>) -> Result<(), Error> {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = queues.get_mut(&key) {
            if waiting.len() >= MAX_WAITING {
                return Err(Error::Overloaded);
            }
            waiting.push(job);
            return Ok(());
        }
        queues.insert(key.clone(), vec![job]);
        drop(queues);
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn(async move { inner.work(key).await });
        Ok(())
    }
}

impl Inner {
    /// Works until nobody waits for this record.
    async fn work(&self, key: RecordKey) {
        let _leaving = Leaving { inner: self, key: &key };
        loop {
            let jobs = {
                let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
                match queues.get_mut(&key) {
                    Some(waiting) if !waiting.is_empty() => std::mem::take(waiting),
                    _ => {
                        queues.remove(&key);
                        return;
                    }
                }
            };
            self.fold(&key, jobs).await;
        }
    }

    async fn fold(&self, key: &RecordKey, mut jobs: Vec<Box<dyn Job>>) {
        let outcome = self.commit_all(key, &mut jobs).await;
        for job in jobs {
            job.finish(key, outcome.clone());
        }
    }

    async fn commit_all(&self, key: &RecordKey, jobs: &mut Vec<Box<dyn Job>>) -> Result<Option<Revision>, Error> {
        for _ in 0..MAX_CONFLICTS {
            let (record, expected) = self.load(key).await?;
            self.settle().await?;
            jobs.retain(|job| !job.is_abandoned());
            let mut current = record;
            let mut changed = false;
            let mut revocations = Vec::new();
            for job in jobs.iter_mut() {
                if let Some(record) = job.decide(current.as_ref(), &mut revocations) {
                    current = Some(record);
                    changed = true;
                }
            }
            let Some(record) = current.filter(|_| changed) else { return Ok(None) };
            let commit = Commit {
                id: self.version(),
                key: key.clone(),
                expected,
                bytes: persisted::encode(&record).into(),
                expires: Some(record.expires()),
                revocations,
            };
            let sent = send(&*self.store, &commit).await;
            if sent.in_doubt {
                self.in_doubt.fetch_add(1, Ordering::SeqCst);
            }
            if let Outcome::Committed(revision) = sent.outcome? {
                // Before anybody is answered: after a revocation's answer no token may pass here.
                for entry in &commit.revocations {
                    self.index.insert(entry);
                }
                return Ok(Some(revision));
            }
        }
        Err(Error::Overloaded)
    }

    /// Reads the log if a commit was left in doubt. The record that was just loaded may say what that
    /// commit did, so that nothing is left to write; what it revoked has to be known here all the same
    /// before anybody is told that it is done.
    async fn settle(&self) -> Result<(), Error> {
        if self.in_doubt.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        let mut settled = self.settled.lock().await;
        let in_doubt = self.in_doubt.load(Ordering::SeqCst);
        if *settled == in_doubt {
            return Ok(());
        }
        let mut log = self.store.follow().await?;
        let mut unread = self.index.partitions();
        while unread > 0 {
            let Some(update) = log.recv().await else {
                return Err(StoreError::Unavailable("the revocation log ended".into()).into());
            };
            let LogUpdate::Snapshot { head, entries } = update else { continue };
            entries.iter().for_each(|entry| self.index.insert(entry));
            // As an entry at the head: its own follower may be further already.
            if let Some(entry) = entries.into_iter().next_back() {
                self.index.apply(&LogUpdate::Entry { position: head, entry });
            }
            unread -= 1;
        }
        *settled = in_doubt;
        Ok(())
    }

    async fn load(&self, key: &RecordKey) -> Result<(Option<SubjectRecord>, Option<Version>), Error> {
        let Some(stored) = self.store.load(key).await? else { return Ok((None, None)) };
        let record = persisted::decode(&stored.bytes).map_err(Error::internal)?;
        Ok((Some(record), Some(stored.version)))
    }

    fn version(&self) -> Version {
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        Version(id)
    }
}

/// Whoever works on a record leaves no queue behind, even if a transition or the store panics: later
/// requests would wait in it for ever.
struct Leaving<'a> {
    inner: &'a Inner,
    key: &'a RecordKey,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inner.queues.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
        }
    }
}

/// A request that waits for its turn, its answer's type forgotten.
trait Job: Send {
    /// Whether nobody waits for its answer any more.
    fn is_abandoned(&self) -> bool;

    /// Decides on this record; adds the revocations that follow.
    fn decide(
        &mut self,
        record: Option<&SubjectRecord>,
        revocations: &mut Vec<RevocationEntry>,
    ) -> Option<SubjectRecord>;

    /// Writes down what happened, and tells the one who waits. In this order and here, since whoever
    /// waits may go away, and must not take the evidence along.
    fn finish(self: Box<Self>, key: &RecordKey, outcome: Result<Option<Revision>, Error>);
}

struct Waiting<A, T> {
    /// The task that works on a record does so for many.
    by: By,
    subject: SubjectKey,
    transition: T,
    decision: Option<(Result<A, Refusal>, Vec<Fact>, Written)>,
    done: oneshot::Sender<Result<Committed<A>, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Yes,
    No,
}

impl<A, T> Job for Waiting<A, T>
where
    A: Send + 'static,
    T: FnMut(Option<&SubjectRecord>) -> Decision<A> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.done.is_closed()
    }

    fn decide(
        &mut self,
        record: Option<&SubjectRecord>,
        revocations: &mut Vec<RevocationEntry>,
    ) -> Option<SubjectRecord> {
        let Decision { answer, record, facts } = (self.transition)(record);
        revocations.extend(facts.iter().filter_map(|fact| fact.revocation(self.subject)));
        let written = if record.is_some() { Written::Yes } else { Written::No };
        self.decision = Some((answer, facts, written));
        record
    }

    fn finish(self: Box<Self>, key: &RecordKey, outcome: Result<Option<Revision>, Error>) {
        let Some((answer, facts, written)) = self.decision else {
            let error = outcome.err().unwrap_or_else(|| Error::internal("a transition did not run"));
            let _ = self.done.send(Err(error));
            return;
        };
        let revision = |revision: Option<Revision>| revision.filter(|_| written == Written::Yes);
        let committed = outcome.map(|committed| Committed { answer, facts, revision: revision(committed) });
        if let (Some(realm), Ok(committed)) = (key.realm_name(), &committed) {
            audit::committed(realm, &self.by, committed);
        }
        let _ = self.done.send(committed);
    }
}

impl std::fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}
