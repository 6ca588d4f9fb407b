//! Which records somebody watches, and how often each was seen to change. Knows no store.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::authority::ports::{RecordKey, Seen};
use crate::domain::time::Timestamp;

/// The watched records. Costs a commit a lock and a look into an empty map while there are none.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<HashMap<RecordKey, watch::Sender<Seen>>>);

/// Whether a watcher is the first of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    First,
    Others,
}

impl Watched {
    /// One more watcher of a record, that is about to read it.
    pub(super) fn join(&self, key: &RecordKey, now: Timestamp) -> (watch::Receiver<Seen>, Joined) {
        let mut watched = self.lock();
        if let Some(sender) = watched.get(key) {
            return (sender.subscribe(), Joined::Others);
        }
        let (sender, receiver) = watch::channel(Seen { changes: 0, at: now });
        watched.insert(key.clone(), sender);
        (receiver, Joined::First)
    }

    /// A record has changed; whether anybody watches it.
    pub(super) fn changed(&self, key: &RecordKey) -> bool {
        let watched = self.lock();
        let sender = watched.get(key);
        sender.inspect(|sender| sender.send_modify(|seen| seen.changes += 1)).is_some()
    }

    /// Every change to a record up to then has been told.
    pub(super) fn confirm(&self, key: &RecordKey, at: Timestamp) {
        if let Some(sender) = self.lock().get(key) {
            sender.send_modify(|seen| seen.at = seen.at.max(at));
        }
    }

    /// The records that are still watched; the others are let go.
    pub(super) fn keys(&self) -> Vec<RecordKey> {
        let mut watched = self.lock();
        watched.retain(|_, sender| !sender.is_closed());
        watched.keys().cloned().collect()
    }

    /// Ends every watch: no watcher may believe that silence means nothing happened.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RecordKey, watch::Sender<Seen>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
