//! The one thread that writes: it takes the commits that wait, makes them durable together, tells
//! the followers, then answers. Knows nothing of the tables' layout.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redb::{Database, Durability};
use tokio::time::Instant;

use crate::authority::ports::{Clock, Entropy, Outcome, StoreError};

use super::engine_error::EngineError;
use super::followers::Followers;
use super::queue::{PendingCommit, Queue, Taken};
use super::step::{Step, Written};
use super::tables::{self, Head};
use crate::store::watched::Watched;

/// How many expired rows of a kind go with one batch: more than a batch can add, so that
/// garbage shrinks under any load.
const GARBAGE_PER_BATCH: usize = 512;
/// How often an idle writer looks for garbage.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// How often followers are told that nothing is missing, at most.
const CONFIRM_EVERY: Duration = Duration::from_millis(500);
/// The same while there is more to do.
const BUSY_TICK: Duration = Duration::from_millis(10);

/// What the writer shares with the store's callers.
#[derive(Debug, Default)]
pub(super) struct Condition {
    /// Why nothing can be written or read any more.
    failure: OnceLock<Arc<str>>,
    pub(super) followers: Followers,
    pub(super) watched: Watched,
}

impl Condition {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.failure.get().map_or(Ok(()), |reason| Err(StoreError::Unavailable(reason.clone())))
    }

    /// The first reason stays.
    pub(super) fn fail(&self, reason: &str) {
        self.failure.get_or_init(|| reason.into());
        self.followers.close();
        self.watched.close();
    }
}

pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    pub(super) condition: Arc<Condition>,
    pub(super) queue: Arc<Queue>,
    pub(super) head: Head,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// Where in a batch the engine failed.
enum BatchError {
    /// Before anything could have become durable.
    Before(EngineError),
    /// While it was made durable.
    During(EngineError),
}

impl<E: Into<EngineError>> From<E> for BatchError {
    fn from(error: E) -> Self {
        Self::Before(error.into())
    }
}

impl Writer {
    pub(super) fn run(mut self) {
        let _last_words = LastWords(self.condition.clone(), self.queue.clone());
        let mut tick = IDLE_TICK;
        let mut confirmed = Instant::now();
        while self.condition.check().is_ok() {
            match self.queue.take(tick) {
                Taken::Batch(batch) => self.serve(batch),
                Taken::Idle => self.clean(),
                Taken::Closed => break,
            }
            self.condition.followers.catch_up(&self.database);
            if confirmed.elapsed() >= CONFIRM_EVERY {
                let now = self.clock.now();
                self.condition.followers.confirm(now);
                for key in self.condition.watched.keys() {
                    self.condition.watched.confirm(&key, now);
                }
                confirmed = Instant::now();
            }
            tick = self.next_tick();
        }
        self.condition.fail("the store is closed");
        self.refuse_the_rest();
    }

    fn next_tick(&self) -> Duration {
        let garbage = tables::has_garbage(&self.database, self.clock.now()).unwrap_or(false);
        if garbage || self.condition.followers.any_lagging() { BUSY_TICK } else { IDLE_TICK }
    }

    fn serve(&mut self, batch: Vec<PendingCommit>) {
        match self.write(&batch) {
            Ok(outcomes) => {
                for (pending, outcome) in batch.into_iter().zip(outcomes) {
                    // Whoever no longer waits learns the outcome by sending the commit again.
                    let _ = pending.answer.send(outcome);
                }
            }
            Err(error) => {
                let error = self.give_up(error);
                for pending in batch {
                    let _ = pending.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Removes garbage while nobody wants anything.
    fn clean(&mut self) {
        let due = tables::has_garbage(&self.database, self.clock.now());
        if due.as_ref().is_ok_and(|due| !due) {
            return;
        }
        if let Err(error) = due.map_err(BatchError::from).and_then(|_| self.write(&[])) {
            self.give_up(error);
        }
    }

    /// One transaction: each commit in order, so that of two for one version the first wins.
    fn write(&mut self, batch: &[PendingCommit]) -> Result<Vec<Result<Outcome, StoreError>>, BatchError> {
        let mut transaction = self.database.begin_write().map_err(EngineError::from)?;
        transaction.set_durability(Durability::Immediate).map_err(EngineError::from)?;
        let mut step = Step::open(&transaction, self.head, self.clock.now())?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for pending in batch {
            outcomes.push(step.apply(&pending.commit, &*self.entropy)?);
        }
        step.collect_garbage(GARBAGE_PER_BATCH)?;
        let Written { head, appended, changed } = step.finish()?;
        if changed {
            transaction.commit().map_err(|error| BatchError::During(error.into()))?;
            self.head = head;
            self.condition.followers.publish(&appended);
            for (pending, _) in batch.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()) {
                self.condition.watched.changed(&pending.commit.key);
            }
        } else {
            transaction.abort().map_err(EngineError::from)?;
        }
        Ok(outcomes)
    }

    /// After an I/O error nobody knows what the file holds until it is opened again (a failed fsync
    /// may have dropped the pages, and a second one succeeds without them): so nothing goes on.
    fn give_up(&self, error: BatchError) -> StoreError {
        let (error, durable) = match error {
            BatchError::Before(error) => (error, false),
            BatchError::During(error) => (error, true),
        };
        let reason = format!("writing failed, the server has to be started again: {error}");
        tracing::error!(%error, "the embedded store can't write; restart the server once the cause is removed");
        self.condition.fail(&reason);
        if durable { StoreError::OutcomeUnknown(reason.into()) } else { StoreError::Unavailable(reason.into()) }
    }

    fn refuse_the_rest(&self) {
        for pending in self.queue.abandon() {
            if let Err(refusal) = self.condition.check() {
                let _ = pending.answer.send(Err(refusal));
            }
        }
    }
}

/// Should the thread panic, the store says so instead of accepting what nobody will write.
struct LastWords(Arc<Condition>, Arc<Queue>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the store's writer stopped, the server has to be started again");
            self.1.abandon();
        }
    }
}
