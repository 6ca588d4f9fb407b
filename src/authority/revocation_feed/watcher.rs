//! One watcher: everything that holds, in chunks, then what is added, and a heartbeat where nothing is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::additions::{CHUNK, Cursor, News};
use super::{FeedMessage, Knowledge, RevocationFeed};
use crate::domain::ids::RealmName;
use crate::domain::revocation::{Revision, RevocationEntry, RevocationScope};

/// How often a watcher hears of us when nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(super) struct Watcher {
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
    /// From a revision that the watcher was given, where what came since is still here; otherwise
    /// everything first.
    pub(super) fn new(feed: Arc<RevocationFeed>, realm: RealmName, after: &Revision) -> Self {
        let stage = match feed.lock().after(after) {
            Some(cursor) => Stage::Following { cursor },
            None => Stage::Starting,
        };
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let grown = feed.grown.subscribe();
        Self { feed, realm, grown, heartbeat, heartbeat_due: false, waiting: VecDeque::new(), stage }
    }

    /// Whoever took all that this was asked for has all additions below this number.
    pub(super) fn held(&self) -> Option<u64> {
        match &self.stage {
            Stage::Starting | Stage::Snapshot { .. } => None,
            Stage::Following { cursor } => Some(cursor.through()),
        }
    }

    pub(super) async fn next(&mut self) -> FeedMessage {
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
