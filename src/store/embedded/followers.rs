//! Who follows the revocation log, and how far each has been told. Knows how to read the log, not
//! how it is written.

use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::Database;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::authority::ports::{LogUpdate, StoreError};
use crate::domain::revocation::{Position, RevocationEntry};
use crate::domain::time::Timestamp;
use crate::store::log_entry::LogEntry;

use super::tables::{self, Head};

/// How many updates a follower may lag before it is given a snapshot instead.
const CAPACITY: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Followers(Mutex<Following>);

#[derive(Debug, Default)]
struct Following {
    followers: Vec<Follower>,
    /// The last number that was published: whoever joins with less has to fetch the difference.
    published: u64,
    closed: bool,
}

#[derive(Debug)]
struct Follower {
    updates: mpsc::Sender<LogUpdate>,
    /// The last number that it was sent, alone or in a snapshot.
    told: u64,
    /// It missed an entry, and gets nothing more until it can be sent a snapshot.
    lagging: bool,
}

impl Followers {
    /// Adds a follower, with everything in the log as its first update. Reads the whole log, so it
    /// does not belong on a task.
    pub(super) fn join(&self, database: &Database) -> Result<mpsc::Receiver<LogUpdate>, StoreError> {
        let (mut head, mut entries) = tables::read_log(database, 0..)?;
        let mut following = self.lock();
        if following.closed {
            return Err(StoreError::Unavailable("the store is closed".into()));
        }
        // Nobody publishes while the lock is held, and what was published since the first read is
        // little: so the long read holds nobody up, and no entry falls between the two.
        if following.published > head.position().number {
            let (later, rest) = tables::read_log(database, head.position().number + 1..)?;
            head = later;
            entries.extend(rest);
        }
        let (updates, receiver) = mpsc::channel(CAPACITY);
        let told = head.position().number;
        if updates.try_send(snapshot(head, entries)).is_ok() {
            following.followers.push(Follower { updates, told, lagging: false });
        }
        Ok(receiver)
    }

    /// Tells everybody what was made durable.
    pub(super) fn publish(&self, appended: &[(Position, RevocationEntry)]) {
        let Some((last, _)) = appended.last() else { return };
        let mut following = self.lock();
        following.published = last.number;
        following.followers.retain_mut(|follower| follower.tell(appended));
    }

    /// Tells everybody who has been told everything that this is so. Only the thread that publishes may
    /// call it.
    pub(super) fn confirm(&self, at: Timestamp) {
        for follower in self.lock().followers.iter().filter(|follower| !follower.lagging) {
            // Whoever has no room now is told later.
            let _ = follower.updates.try_send(LogUpdate::Confirmed { at });
        }
    }

    /// Whether somebody waits for a snapshot.
    pub(super) fn any_lagging(&self) -> bool {
        self.lock().followers.iter().any(|follower| follower.lagging)
    }

    /// Gives a snapshot to those who lag and have read half of what they were sent. Only the thread
    /// that publishes may call it.
    pub(super) fn catch_up(&self, database: &Database) {
        let mut following = self.lock();
        following.followers.retain_mut(|follower| follower.catch_up(database));
    }

    /// Ends every stream: no follower may believe that silence means nothing happened.
    pub(super) fn close(&self) {
        let mut following = self.lock();
        following.closed = true;
        following.followers.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Following> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Whether the follower is still there.
    fn tell(&mut self, appended: &[(Position, RevocationEntry)]) -> bool {
        for (position, entry) in appended {
            if self.lagging || position.number <= self.told {
                continue;
            }
            match self.updates.try_send(LogUpdate::Entry { position: *position, entry: entry.clone() }) {
                Ok(()) => self.told = position.number,
                Err(TrySendError::Full(_)) => self.lagging = true,
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        !self.updates.is_closed()
    }

    /// Whether the follower is still there. One that the log can't be read for is dropped: it
    /// follows anew, and is told the reason then.
    fn catch_up(&mut self, database: &Database) -> bool {
        if !self.lagging || self.updates.capacity() < CAPACITY / 2 {
            return !self.updates.is_closed();
        }
        let Ok((head, entries)) = tables::read_log(database, 0..) else { return false };
        self.told = head.position().number;
        self.lagging = false;
        self.updates.try_send(snapshot(head, entries)).is_ok()
    }
}

fn snapshot(head: Head, log: Vec<LogEntry>) -> LogUpdate {
    LogUpdate::Snapshot { head: head.position(), entries: log.into_iter().map(|row| row.entry).collect() }
}
