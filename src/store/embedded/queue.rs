//! Where commits wait for the writer, which takes them together: one sync of the disk serves all.
//! Knows nothing of what a commit holds.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::authority::ports::{Commit, Outcome, StoreError};

/// How long a commit waits for the company that came with those before it. A sync costs the processor
/// as much as several commits; a caller who is alone never waits.
pub(super) const GATHER: Duration = Duration::from_millis(1);

pub(super) struct PendingCommit {
    pub(super) commit: Commit,
    pub(super) answer: oneshot::Sender<Result<Outcome, StoreError>>,
}

/// Why a commit was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// What the writer finds.
pub(super) enum Taken {
    /// At least one commit.
    Batch(Vec<PendingCommit>),
    /// Nothing came in the time.
    Idle,
    /// Nothing will come any more.
    Closed,
}

pub(super) struct Queue {
    state: Mutex<State>,
    enough: Condvar,
    capacity: usize,
    max_batch: usize,
    gather: Duration,
}

struct State {
    waiting: Vec<PendingCommit>,
    /// With how many the writer is woken.
    wanted: usize,
    /// How many came together of late.
    company: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize, max_batch: usize, gather: Duration) -> Self {
        let state = State { waiting: Vec::new(), wanted: 1, company: 1, closed: false };
        Self { state: Mutex::new(state), enough: Condvar::new(), capacity, max_batch: max_batch.max(1), gather }
    }

    pub(super) fn push(&self, pending: PendingCommit) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting.len() >= self.capacity {
            return Err(Refused::Full);
        }
        state.waiting.push(pending);
        if state.waiting.len() == state.wanted {
            self.enough.notify_one();
        }
        Ok(())
    }

    /// What waits is still taken; nothing comes after it.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.enough.notify_one();
    }

    /// Closes and hands out what waits.
    pub(super) fn abandon(&self) -> Vec<PendingCommit> {
        self.close();
        std::mem::take(&mut self.lock().waiting)
    }

    /// Waits for a first commit, and then for its company.
    pub(super) fn take(&self, patience: Duration) -> Taken {
        let state = self.wait_for(1, patience, self.lock());
        if state.waiting.is_empty() {
            return if state.closed { Taken::Closed } else { Taken::Idle };
        }
        let company = state.company.min(self.max_batch);
        let mut state = self.wait_for(company, self.gather, state);
        let count = state.waiting.len().min(self.max_batch);
        // Falls slowly: callers that sign in between do not come as regularly as they are many.
        state.company = count.max(state.company - state.company.saturating_sub(count).div_ceil(8));
        Taken::Batch(state.waiting.drain(..count).collect())
    }

    fn wait_for<'a>(&self, wanted: usize, time: Duration, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.wanted = wanted;
        let waited = self.enough.wait_timeout_while(state, time, |s| s.waiting.len() < s.wanted && !s.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::authority::ports::{RecordKey, Version};

    /// So long that a test that waits for it fails by hanging.
    const EVER: Duration = Duration::from_secs(3_600);

    fn pending() -> PendingCommit {
        let commit = Commit {
            id: Version([0; 16]),
            key: RecordKey::VAULT,
            expected: None,
            bytes: Vec::new().into(),
            expires: None,
            revocations: Vec::new(),
        };
        PendingCommit { commit, answer: oneshot::channel().0 }
    }

    fn size(taken: &Taken) -> usize {
        match taken {
            Taken::Batch(batch) => batch.len(),
            Taken::Idle | Taken::Closed => 0,
        }
    }

    #[test]
    fn who_is_alone_never_waits() {
        let queue = Queue::new(8, 8, EVER);
        for _ in 0..3 {
            queue.push(pending()).expect("a place");
            assert_eq!(size(&queue.take(EVER)), 1);
        }
    }

    #[test]
    fn the_first_waits_for_the_company_of_those_before() {
        let queue = Arc::new(Queue::new(8, 8, EVER));
        for _ in 0..2 {
            queue.push(pending()).expect("a place");
        }
        assert_eq!(size(&queue.take(EVER)), 2);
        queue.push(pending()).expect("a place");
        let writer = thread::spawn({
            let queue = queue.clone();
            move || size(&queue.take(EVER))
        });
        while queue.lock().wanted != 2 {
            thread::yield_now();
        }
        queue.push(pending()).expect("a place");
        assert_eq!(writer.join().expect("no panic"), 2);
    }

    #[test]
    fn company_that_stays_away_is_forgotten() {
        let queue = Queue::new(64, 64, Duration::ZERO);
        (0..40).for_each(|_| queue.push(pending()).expect("a place"));
        assert_eq!(size(&queue.take(EVER)), 40);
        for _ in 0..40 {
            queue.push(pending()).expect("a place");
            assert_eq!(size(&queue.take(EVER)), 1);
        }
        assert_eq!(queue.lock().company, 1);
    }

    #[test]
    fn full_and_closed_are_told_apart_and_what_waits_is_still_taken() {
        let queue = Queue::new(2, 1, EVER);
        queue.push(pending()).expect("a place");
        queue.push(pending()).expect("a place");
        assert_eq!(queue.push(pending()), Err(Refused::Full));
        queue.close();
        assert_eq!(queue.push(pending()), Err(Refused::Closed));
        assert_eq!(size(&queue.take(EVER)), 1);
        assert_eq!(size(&queue.take(EVER)), 1);
        assert!(matches!(queue.take(EVER), Taken::Closed));
    }
}
