//! What watchers of revocations are sent: everything that holds, in chunks, then what is added. One that
//! falls too far behind is sent everything again; nothing is ever left out. Knows no transport.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::watch;

use crate::domain::ids::{RealmName, SubscriberName};
use crate::domain::revocation::{LogUpdate, Revision, RevocationEntry};
use crate::domain::time::Timestamp;
use crate::verify::revocations::RevocationIndex;

use super::{Authority, Error};

mod additions;
mod subscribers;
mod watcher;

use additions::Additions;
use subscribers::Subscribers;
use watcher::Watcher;

pub use subscribers::{Lagging, Tally};

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

/// Sent along with messages, and back by who has applied them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt(u64);

impl Receipt {
    /// As a message carries it; never 0.
    pub fn to_number(self) -> u64 {
        self.0.saturating_add(1)
    }

    /// The receipt of a number; 0 is none.
    pub fn from_number(number: u64) -> Option<Self> {
        number.checked_sub(1).map(Self)
    }
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
    subscribers: Subscribers,
}

impl RevocationFeed {
    /// Over the index, which has to be told everything first.
    pub fn new(index: Arc<RevocationIndex>) -> Self {
        let (grown, subscribers) = (watch::Sender::new(()), Subscribers::default());
        Self { index, additions: Mutex::default(), grown, subscribers }
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
        unfold(Watcher::new(self, realm, after), |mut watcher| async { Some((watcher.next().await, watcher)) })
    }

    /// The same for a subscriber: each message with its receipt, if there is something to acknowledge.
    pub fn subscribe(
        self: Arc<Self>,
        realm: RealmName,
        after: &Revision,
        name: SubscriberName,
    ) -> (Subscription, impl Stream<Item = (FeedMessage, Option<Receipt>)> + use<>) {
        let watcher = Watcher::new(self.clone(), realm.clone(), after);
        let number = self.subscribers.enter(name, realm, watcher.held());
        let messages = unfold(watcher, |mut watcher| async {
            let message = watcher.next().await;
            Some(((message, watcher.held().map(Receipt)), watcher))
        });
        let subscription = Subscription { feed: self, number };
        (subscription, messages)
    }

    /// How many of the realm's subscribers here have acknowledged what the question asks about.
    pub(super) fn tally(&self, question: &mut Question) -> Tally {
        if question.through.is_none() {
            question.through = self.lock().through(&question.revision);
        }
        self.subscribers.tally(&question.realm, question.through)
    }

    /// Turns whenever a tally may have become another.
    pub(super) fn changes(&self) -> (watch::Receiver<()>, watch::Receiver<()>) {
        (self.grown.subscribe(), self.subscribers.changes())
    }

    /// Notes who owes receipts now; called about once a second.
    pub(super) fn look_for_lagging(&self) {
        self.subscribers.look(self.lock().end());
    }

    /// Subscribers here that lag, the worst first.
    pub fn lagging(&self) -> Vec<Lagging> {
        self.subscribers.lagging()
    }

    /// How many subscribers each realm has here.
    pub fn subscribers(&self) -> BTreeMap<RealmName, usize> {
        self.subscribers.of_realms()
    }

    fn lock(&self) -> MutexGuard<'_, Additions> {
        self.additions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscriber that is there, for as long as this is held.
#[derive(Debug)]
pub struct Subscription {
    feed: Arc<RevocationFeed>,
    number: u64,
}

impl Subscription {
    /// It has applied everything up to a receipt. One of what it can't have been sent counts for no more
    /// than that.
    pub fn applied(&self, Receipt(through): Receipt) {
        let end = self.feed.lock().end();
        self.feed.subscribers.applied(self.number, through.min(end));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.subscribers.leave(self.number);
    }
}

/// Who has acknowledged a revocation?
#[derive(Debug)]
pub(super) struct Question {
    realm: RealmName,
    revision: Revision,
    /// Additions below have to be applied, once that is known.
    through: Option<u64>,
}

impl Question {
    pub(super) fn new(realm: RealmName, revision: Revision) -> Self {
        Self { realm, revision, through: None }
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

    /// The same for a subscriber that acknowledges what it has applied.
    pub fn follow_revocations(
        &self,
        realm: &str,
        after: &Revision,
        name: SubscriberName,
    ) -> Result<(Subscription, impl Stream<Item = (FeedMessage, Option<Receipt>)> + use<>), Error> {
        let realm = self.realm(realm)?;
        Ok(self.feed.clone().subscribe(realm.policy.realm.clone(), after, name))
    }

    /// What those who follow this instance are sent.
    pub fn feed(&self) -> &RevocationFeed {
        &self.feed
    }
}

#[cfg(test)]
mod tests;
