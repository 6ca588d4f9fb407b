//! A few threads for work that would stall others: an RSA signature on an I/O thread delays some
//! forty calls. Bounded, and knows nothing of what it runs.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::SignError;

/// How many signatures a thread makes at most before it tells of them. Each waking of an I/O thread
/// interrupts a signature.
const GROUP: usize = 4;
/// How much longer than a group a thread's share of the queue is, so that waiting for the group adds
/// little to the wait that there is.
const DEPTH: usize = 4;

/// The work, which returns how its result is told.
pub(super) type Job = Box<dyn FnOnce() -> Answer + Send>;
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// Stops when dropped: what runs is finished, what waits is dropped unrun, the threads are joined.
pub(super) struct Pool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(super) fn new(threads: NonZero<usize>, queue: usize) -> std::io::Result<Self> {
        let queue = Queue { state: Mutex::default(), arrived: Condvar::new(), capacity: queue, threads };
        let mut pool = Self { queue: Arc::new(queue), threads: Vec::new() };
        for number in 0..threads.get() {
            let queue = pool.queue.clone();
            pool.threads.push(Builder::new().name(format!("sign-{number}")).spawn(move || queue.work())?);
        }
        Ok(pool)
    }

    /// Queues the job, or refuses at once: a caller never waits for a place.
    pub(super) fn run(&self, job: Job) -> Result<(), SignError> {
        let mut state = self.queue.lock();
        if state.waiting.len() >= self.queue.capacity {
            return Err(SignError::Overloaded);
        }
        state.waiting.push_back(job);
        self.queue.arrived.notify_one();
        Ok(())
    }

    /// How many jobs no thread has taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.lock().stopped = true;
        self.queue.arrived.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} threads)", self.threads.len())
    }
}

struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    capacity: usize,
    threads: NonZero<usize>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    stopped: bool,
}

impl Queue {
    fn work(&self) {
        while let Some(group) = self.take() {
            let answers: Vec<Answer> = group.into_iter().map(|job| job()).collect();
            answers.into_iter().for_each(|answer| answer());
        }
    }

    /// One job, or a group where many wait.
    fn take(&self) -> Option<Vec<Job>> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.stopped;
        let mut state = self.arrived.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return None;
        }
        let size = (state.waiting.len() / self.threads / DEPTH).clamp(1, GROUP);
        Some(state.waiting.drain(..size).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn one_thread(queue: usize) -> Pool {
        Pool::new(NonZero::<usize>::MIN, queue).expect("a thread")
    }

    fn silent(work: impl FnOnce() + Send + 'static) -> Job {
        Box::new(move || {
            work();
            Box::new(|| {})
        })
    }

    /// Holds the pool's thread until the sender is dropped.
    fn hold(pool: &Pool) -> Sender<()> {
        let (started, has_started) = channel();
        let (go, wait) = channel::<()>();
        let job = silent(move || {
            started.send(()).expect("someone listens");
            let _ = wait.recv();
        });
        pool.run(job).expect("an idle pool");
        has_started.recv().expect("it runs");
        go
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        let pool = one_thread(2);
        let _held = hold(&pool);
        for _ in 0..2 {
            pool.run(silent(|| {})).expect("a place");
        }
        assert_eq!(pool.run(silent(|| {})), Err(SignError::Overloaded));
        assert_eq!(pool.waiting(), 2);
    }

    #[test]
    fn dropping_it_finishes_what_runs_and_drops_what_waits() {
        let pool = one_thread(8);
        let (done, results) = channel();
        let held = hold(&pool);
        pool.run(silent(move || done.send(2).expect("someone listens"))).expect("a place");
        pool.queue.lock().stopped = true;
        drop(held);
        drop(pool);
        assert_eq!(results.iter().count(), 0);
    }

    /// Numbers, as they are worked on and as they are told.
    fn order_of(jobs: usize) -> Vec<(&'static str, usize)> {
        let pool = one_thread(jobs);
        let held = hold(&pool);
        let (events, order) = channel();
        for number in 0..jobs {
            let events = events.clone();
            let job: Job = Box::new(move || {
                events.send(("made", number)).expect("someone listens");
                Box::new(move || events.send(("told", number)).expect("someone listens"))
            });
            pool.run(job).expect("a place");
        }
        drop((held, events));
        order.iter().collect()
    }

    #[test]
    fn results_are_told_in_groups_only_where_many_wait() {
        let few = order_of(DEPTH);
        assert!(few.chunks(2).all(|pair| pair[0].0 == "made" && pair[1].0 == "told"), "{few:?}");
        let many = order_of(GROUP * DEPTH);
        let made = many.iter().take_while(|(what, _)| *what == "made").count();
        assert_eq!(made, GROUP, "{many:?}");
        assert_eq!(many.iter().filter(|(what, _)| *what == "told").count(), GROUP * DEPTH);
    }
}
