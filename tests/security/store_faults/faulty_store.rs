//! A store that fails as its script says, at the call that the test names; below it is a real one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use token_authority::authority::ports::{
    Commit, LogUpdate, Outcome, RecordKey, RecordKind, Seen, Store, StoreError, Stored, Version,
};
use token_authority::domain::revocation::Revision;
use tokio::sync::{Semaphore, mpsc, watch};

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing reached the store.
    Unavailable,
    /// The commit was lost on its way, and nobody knows. A load is just unavailable.
    UnknownLost,
    /// The commit was applied, but its answer was lost. A load is just unavailable.
    UnknownApplied,
    /// Another process writes the record first. Before a load, that changes nothing.
    Overtaken,
    /// No room.
    Full,
    /// The call waits until the store is released.
    Hang,
}

/// A commit as it was sent, and what it met.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Load,
    Commit(Box<Commit>, Met),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    Unknown,
    Other,
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    state: Mutex<State>,
    released: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    /// Calls to let pass first.
    pass: usize,
    script: VecDeque<Fault>,
    calls: Vec<Call>,
    applied: Vec<Version>,
    writers: u8,
}

impl FaultyStore {
    pub(crate) fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, state: Mutex::default(), released: Semaphore::new(0) })
    }

    /// Lets `pass` calls through, then follows the script, one fault a call.
    pub(crate) fn arm(&self, pass: usize, script: &[Fault]) {
        let mut state = self.state.lock().unwrap();
        let writers = state.writers;
        *state = State { pass, script: script.iter().copied().collect(), writers, ..State::default() };
    }

    /// Works again, and lets go of what hangs. Returns the calls since it was armed, and how many of
    /// their commits were applied.
    pub(crate) fn disarm(&self) -> (Vec<Call>, usize) {
        let mut state = self.state.lock().unwrap();
        state.script.clear();
        self.released.add_permits(1);
        (std::mem::take(&mut state.calls), std::mem::take(&mut state.applied).len())
    }

    fn next(&self) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        if state.pass > 0 {
            state.pass -= 1;
            return None;
        }
        state.script.pop_front()
    }

    fn called(&self, call: Call) {
        self.state.lock().unwrap().calls.push(call);
    }

    /// What another process does: the same content under another version.
    async fn overtake(&self, key: &RecordKey) {
        let stored = self.inner.load(key).await.unwrap();
        let number = {
            let mut state = self.state.lock().unwrap();
            state.writers += 1;
            state.writers
        };
        let Some(Stored { bytes, version }) = stored else { return };
        let (id, expires, revocations) = (Version([number; 16]), None, Vec::new());
        let commit = Commit { id, key: key.clone(), expected: Some(version), bytes, expires, revocations };
        assert!(matches!(self.inner.commit(&commit).await, Ok(Outcome::Committed(_))));
    }

    async fn apply(&self, commit: &Commit) -> Result<Outcome, StoreError> {
        let outcome = self.inner.commit(commit).await;
        if matches!(outcome, Ok(Outcome::Committed(_))) {
            let mut state = self.state.lock().unwrap();
            if !state.applied.contains(&commit.id) {
                state.applied.push(commit.id);
            }
        }
        outcome
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn partition(&self, key: &RecordKey) -> u16 {
        self.inner.partition(key)
    }

    async fn load(&self, key: &RecordKey) -> Result<Option<Stored>, StoreError> {
        self.called(Call::Load);
        match self.next() {
            Some(Fault::Unavailable | Fault::UnknownLost | Fault::UnknownApplied | Fault::Full) => {
                return Err(StoreError::Unavailable("scripted".into()));
            }
            Some(Fault::Overtaken) => self.overtake(key).await,
            Some(Fault::Hang) => self.released.acquire().await.unwrap().forget(),
            None => {}
        }
        self.inner.load(key).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Outcome, StoreError> {
        assert_ne!(commit.key.kind(), RecordKind::Vault);
        let fault = self.next();
        let unknown = matches!(fault, Some(Fault::UnknownLost | Fault::UnknownApplied));
        self.called(Call::Commit(Box::new(commit.clone()), if unknown { Met::Unknown } else { Met::Other }));
        match fault {
            Some(Fault::Unavailable) => return Err(StoreError::Unavailable("scripted".into())),
            Some(Fault::Full) => return Err(StoreError::Full("scripted".into())),
            Some(Fault::UnknownLost) => return Err(StoreError::OutcomeUnknown("scripted".into())),
            Some(Fault::UnknownApplied) => {
                // An earlier writer may have come first: then it is not applied, and nobody knows either.
                let _ = self.apply(commit).await;
                return Err(StoreError::OutcomeUnknown("scripted".into()));
            }
            Some(Fault::Overtaken) => self.overtake(&commit.key).await,
            Some(Fault::Hang) => self.released.acquire().await.unwrap().forget(),
            None => {}
        }
        self.apply(commit).await
    }

    async fn proof(&self, key: &RecordKey) -> Result<Revision, StoreError> {
        self.called(Call::Load);
        match self.next() {
            Some(Fault::Hang) => self.released.acquire().await.unwrap().forget(),
            Some(Fault::Overtaken) | None => {}
            Some(_) => return Err(StoreError::Unavailable("scripted".into())),
        }
        self.inner.proof(key).await
    }

    async fn follow(&self) -> Result<mpsc::Receiver<LogUpdate>, StoreError> {
        self.inner.follow().await
    }

    async fn watch(&self, key: &RecordKey) -> Result<watch::Receiver<Seen>, StoreError> {
        self.inner.watch(key).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
