//! What watchers of revocations are sent: everything that holds, in chunks, then what is added. One that
//! falls too far behind is sent everything again; nothing is ever left out. Knows no transport.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::domain::ids::RealmName;
use crate::domain::revocation::{LogUpdate, Revision, RevocationEntry, RevocationScope};
use crate::domain::time::Timestamp;
use crate::verify::revocations::RevocationIndex;

use super::{Authority, Error};

mod additions;

use additions::{Additions, CHUNK, Cursor, News};

/// How often a watcher hears of us when nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// One message to a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedMessage {
    /// Some of everything that holds; with the last chunk, what the watcher then knows.
    Snapshot(Vec<RevocationEntry>, Option<Knowledge>),
    /// What is new; with the last of it, up to when nothing is missing.
    Delta(Vec<RevocationEntry>, Option<Timestamp>),
    /// Nothing is.
    Heartbeat(Knowledge),
}

/// What a watcher has been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knowledge {
    /// To go on from there.
    pub revision: Revision,
    /// Everything that was revoked up to this time.
    pub as_of: Timestamp,
}

/// The latest additions to the log, for all watchers.
#[derive(Debug)]
pub struct RevocationFeed {
    index: Arc<RevocationIndex>,
    additions: Mutex<Additions>,
    grown: watch::Sender<()>,
}

impl RevocationFeed {
    /// Over the index, which has to be told everything first.
    pub fn new(index: Arc<RevocationIndex>) -> Self {
        Self { index, additions: Mutex::default(), grown: watch::Sender::new(()) }
    }

    /// Takes in what a follower of the log was told, once the index has it.
    pub fn append(&self, update: &LogUpdate) {
        match update {
            LogUpdate::Entry { position, entry } => self.lock().push(*position, entry),
            LogUpdate::Snapshot { head, entries } => self.lock().read_anew(*head, entries),
            LogUpdate::Lost { .. } | LogUpdate::Confirmed { .. } => {}
        }
        self.grown.send_replace(());
    }

    /// From a revision that the watcher was given, where what came since is still here; otherwise
    /// everything first.
    pub fn watch(self: Arc<Self>, realm: RealmName, after: &Revision) -> impl Stream<Item = FeedMessage> + use<> {
        let stage = match self.lock().after(after) {
            Some(cursor) => Stage::Following { cursor },
            None => Stage::Starting,
        };
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let grown = self.grown.subscribe();
        let waiting = VecDeque::new();
        let watcher = Watcher { feed: self, realm, grown, heartbeat, heartbeat_due: false, waiting, stage };
        unfold(watcher, |mut watcher| async { Some((watcher.next().await, watcher)) })
    }

    fn lock(&self) -> MutexGuard<'_, Additions> {
        self.additions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authority {
    /// The realm's revocations: everything that holds, or what came after a revision, and then each that
    /// is added.
    pub fn watch_revocations(
        &self,
        realm: &str,
        after: &Revision,
    ) -> Result<impl Stream<Item = FeedMessage> + use<>, Error> {
        let realm = self.realm(realm)?;
        Ok(self.feed.clone().watch(realm.policy.realm.clone(), after))
    }
}

struct Watcher {
    feed: Arc<RevocationFeed>,
    realm: RealmName,
    grown: watch::Receiver<()>,
    heartbeat: Interval,
    heartbeat_due: bool,
    /// Of the snapshot, to be sent next.
    waiting: VecDeque<RevocationEntry>,
    stage: Stage,
}

enum Stage {
    /// Everything has to be sent.
    Starting,
    /// Everything is being sent, up to this part of the index.
    Snapshot { part: usize, knowledge: Knowledge, next: u64 },
    /// All additions before the cursor have been sent.
    Following { cursor: Cursor },
}

impl Watcher {
    async fn next(&mut self) -> FeedMessage {
        loop {
            let message = match &self.stage {
                Stage::Starting => self.start().await,
                Stage::Snapshot { .. } => self.send_snapshot(),
                Stage::Following { cursor } => self.follow(cursor.clone()).await,
            };
            if let Some(message) = message {
                return message;
            }
        }
    }

    /// Notes where additions go on, and what is known, before anything is read from the index: whatever
    /// comes meanwhile is sent twice rather than never.
    async fn start(&mut self) -> Option<FeedMessage> {
        let (index, as_of) = (&self.feed.index, self.feed.index.as_of());
        match as_of.filter(|_| index.is_complete()) {
            Some(as_of) => {
                let additions = self.feed.lock();
                let (revision, next) = (additions.revision(), additions.end());
                drop(additions);
                self.stage = Stage::Snapshot { part: 0, knowledge: Knowledge { revision, as_of }, next };
            }
            None => self.wait().await,
        }
        None
    }

    fn send_snapshot(&mut self) -> Option<FeedMessage> {
        let Stage::Snapshot { part, knowledge, next } = &mut self.stage else { return None };
        while self.waiting.len() <= CHUNK
            && let Some(entries) = self.feed.index.part(*part)
        {
            *part += 1;
            self.waiting.extend(entries.into_iter().filter(|entry| concerns(entry, &self.realm)));
        }
        let reached = (self.waiting.len() <= CHUNK).then(|| knowledge.clone());
        if reached.is_some() {
            self.stage = Stage::Following { cursor: Cursor::at(*next) };
        }
        let chunk = self.waiting.drain(..self.waiting.len().min(CHUNK)).collect();
        Some(FeedMessage::Snapshot(chunk, reached))
    }

    async fn follow(&mut self, cursor: Cursor) -> Option<FeedMessage> {
        // Before additions are read: so nothing up to then is missing among those.
        let as_of = self.feed.index.as_of();
        let Some(news) = self.feed.lock().news(cursor) else {
            self.stage = Stage::Starting;
            return None;
        };
        let News { entries, cursor, revision } = news;
        self.stage = Stage::Following { cursor };
        let entries: Vec<_> = entries.into_iter().filter(|entry| concerns(entry, &self.realm)).collect();
        if !entries.is_empty() {
            return Some(FeedMessage::Delta(entries, as_of.filter(|_| revision.is_some())));
        }
        let revision = revision?;
        if self.heartbeat_due
            && let Some(as_of) = as_of.filter(|_| self.feed.index.is_complete())
        {
            self.heartbeat_due = false;
            return Some(FeedMessage::Heartbeat(Knowledge { revision, as_of }));
        }
        self.wait().await;
        None
    }

    async fn wait(&mut self) {
        tokio::select! {
            // Can't fail while the feed holds the sender.
            _ = self.grown.changed() => {}
            _ = self.heartbeat.tick() => self.heartbeat_due = true,
        }
    }
}

/// Entries about single sessions and tokens are no realm's by their text: their random ids are met by
/// that realm's tokens alone.
fn concerns(entry: &RevocationEntry, realm: &RealmName) -> bool {
    match &entry.scope {
        RevocationScope::Client(of, ..) | RevocationScope::Realm(of, _) => of == realm,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
