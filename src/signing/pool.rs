//! A few threads for work that would stall others: an RSA signature on an I/O thread delays some
//! forty calls. Bounded, and knows nothing of what it runs.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::SignError;

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Stops when dropped: what runs is finished, what waits is dropped unrun, the threads are joined.
pub(super) struct Pool {
    /// Taken to close the queue.
    queue: Option<SyncSender<Job>>,
    waiting: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(super) fn new(threads: NonZero<usize>, queue: usize) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        let waiting = Arc::<AtomicUsize>::default();
        let mut pool = Self { queue: Some(sender), waiting, stopped: Arc::default(), threads: Vec::new() };
        for number in 0..threads.get() {
            let (receiver, stopped) = (Arc::clone(&receiver), Arc::clone(&pool.stopped));
            let waiting = Arc::clone(&pool.waiting);
            let thread = Builder::new().name(format!("sign-{number}"));
            let thread = thread.spawn(move || work(&receiver, &waiting, &stopped))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Queues the job, or refuses at once: a caller never waits for a place.
    pub(super) fn run(&self, job: Job) -> Result<(), SignError> {
        let queue = self.queue.as_ref().ok_or(SignError::Failed)?;
        // Before it is sent, since a thread may take it at once.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        queue.try_send(job).map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            SignError::Overloaded
        })
    }

    /// How many jobs no thread has taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.queue = None;
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

fn work(receiver: &Mutex<Receiver<Job>>, waiting: &AtomicUsize, stopped: &AtomicBool) {
    loop {
        // The lock is held while waiting, and only then: it hands out jobs one by one.
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        waiting.fetch_sub(1, Ordering::Relaxed);
        if !stopped.load(Ordering::Relaxed) {
            job();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn one_thread(queue: usize) -> Pool {
        Pool::new(NonZero::<usize>::MIN, queue).expect("a thread")
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        let pool = one_thread(2);
        let (started, has_started) = channel();
        let (go, wait) = channel::<()>();
        pool.run(Box::new(move || {
            started.send(()).expect("someone listens");
            let _ = wait.recv();
        }))
        .expect("an idle pool");
        has_started.recv().expect("it runs");
        for _ in 0..2 {
            pool.run(Box::new(|| {})).expect("a place");
        }
        assert_eq!(pool.run(Box::new(|| {})), Err(SignError::Overloaded));
        assert_eq!(pool.waiting(), 2);
        go.send(()).expect("it waits");
    }

    #[test]
    fn dropping_it_finishes_what_runs_and_drops_what_waits() {
        let pool = one_thread(8);
        let (started, has_started) = channel();
        let (done, results) = channel();
        let (go, wait) = channel::<()>();
        let first = done.clone();
        pool.run(Box::new(move || {
            started.send(()).expect("someone listens");
            let _ = wait.recv();
            first.send(1).expect("someone listens");
        }))
        .expect("an idle pool");
        pool.run(Box::new(move || done.send(2).expect("someone listens"))).expect("a place");
        has_started.recv().expect("it runs");
        pool.stopped.store(true, Ordering::Relaxed);
        go.send(()).expect("it waits");
        drop(pool);
        assert_eq!(results.iter().collect::<Vec<_>>(), [1]);
    }
}
