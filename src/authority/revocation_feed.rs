//! What watchers of revocations are sent: everything that holds, in chunks, then what is added. One that
//! falls too far behind is sent everything again; nothing is ever left out. Knows no transport.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::domain::ids::RealmName;
use crate::domain::revocation::{LogUpdate, Position, Revision, RevocationEntry, RevocationScope};
use crate::domain::time::Timestamp;
use crate::verify::revocations::RevocationIndex;

use super::{Authority, Error};

/// Additions that are kept for watchers who lag, and for those who come back: some 5 MB.
const KEPT: usize = 65_536;
/// Entries of one message, and what is held for a watcher that does not read: some 70 kB.
const CHUNK: usize = 1_024;
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

#[derive(Debug, Default)]
struct Additions {
    kept: VecDeque<(Position, RevocationEntry)>,
    /// How many were dropped before those: the number of the first that is kept.
    dropped: u64,
    /// How far each partition had been read before the first that is kept.
    before: HashMap<u16, Position>,
    /// How far each has been read. Not the index's word, which may be ahead of what watchers can be sent.
    heads: HashMap<u16, Position>,
}

/// Where a watcher stands.
#[derive(Debug, Clone, Default)]
struct Cursor {
    /// The next addition.
    next: u64,
    /// Of additions below this number, in each partition, it has been sent all.
    has: HashMap<u16, u64>,
}

/// What came after a cursor.
struct News {
    entries: Vec<RevocationEntry>,
    cursor: Cursor,
    /// What the watcher holds with these; `None` if there is more.
    revision: Option<Revision>,
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

impl Additions {
    fn push(&mut self, position: Position, entry: &RevocationEntry) {
        if self.kept.len() == KEPT
            && let Some((dropped, _)) = self.kept.pop_front()
        {
            self.before.insert(dropped.partition, dropped);
            self.dropped += 1;
        }
        self.kept.push_back((position, entry.clone()));
        self.heads.insert(position.partition, position);
    }

    /// The first reading of a partition is what watchers get from the index. A later one may hold what
    /// was never published, so all of it is new to them.
    fn read_anew(&mut self, head: Position, entries: &[RevocationEntry]) {
        if let Entry::Vacant(first) = self.before.entry(head.partition) {
            first.insert(head);
        } else {
            entries.iter().for_each(|entry| self.push(head, entry));
        }
        self.heads.insert(head.partition, head);
    }

    fn end(&self) -> u64 {
        self.dropped + self.kept.len() as u64
    }

    fn revision(&self) -> Revision {
        self.heads.values().copied().collect()
    }

    /// A chunk of what came after a cursor; `None` if some is no longer here.
    fn news(&self, mut cursor: Cursor) -> Option<News> {
        let skip = usize::try_from(cursor.next.checked_sub(self.dropped)?).ok()?;
        let mut entries = Vec::new();
        for (position, entry) in self.kept.iter().skip(skip).take(CHUNK) {
            if cursor.has.get(&position.partition).is_none_or(|has| cursor.next >= *has) {
                entries.push(entry.clone());
            }
            cursor.next += 1;
        }
        let revision = (cursor.next == self.end()).then(|| self.revision());
        Some(News { entries, cursor, revision })
    }

    /// Where the additions after a revision begin. Only places that were passed here count, by number and
    /// tag: after a failover a number says nothing.
    fn after(&self, revision: &Revision) -> Option<Cursor> {
        let held: HashMap<_, _> = revision.positions().iter().map(|position| (position.partition, position)).collect();
        if held.is_empty() || held.len() != self.before.len() {
            return None;
        }
        let at_start = held.iter().filter(|(partition, position)| self.before.get(partition) == Some(position));
        let mut has: HashMap<_, _> = at_start.map(|(partition, _)| (*partition, self.dropped)).collect();
        for (number, (position, _)) in (self.dropped..).zip(&self.kept) {
            if held.get(&position.partition) == Some(&position) {
                has.insert(position.partition, number + 1);
            }
        }
        let next = has.values().copied().min()?;
        (has.len() == held.len()).then_some(Cursor { next, has })
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
            self.stage = Stage::Following { cursor: Cursor { next: *next, has: HashMap::new() } };
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
mod tests {
    use std::collections::HashSet;
    use std::pin::{Pin, pin};

    use futures::StreamExt as _;

    use super::*;
    use crate::domain::ids::SessionId;

    const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn realm() -> RealmName {
        RealmName::parse("web").expect("a realm")
    }

    fn entry(number: u64) -> RevocationEntry {
        // Spread over all bits, as random ids are.
        let id = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
        RevocationEntry { scope: RevocationScope::Session(SessionId(id)), until: NOON + Duration::from_secs(900) }
    }

    fn position(number: u64) -> Position {
        Position { partition: 0, number, tag: 7 }
    }

    /// A feed of a log of one partition that has been read up to number 0.
    struct Log {
        feed: Arc<RevocationFeed>,
        length: u64,
    }

    impl Log {
        fn new() -> Self {
            let log = Self { feed: Arc::new(RevocationFeed::new(Arc::new(RevocationIndex::new(1)))), length: 0 };
            log.tell(&LogUpdate::Snapshot { head: position(0), entries: Vec::new() });
            log.confirm();
            log
        }

        fn tell(&self, update: &LogUpdate) {
            self.feed.index.apply(update);
            self.feed.append(update);
        }

        fn confirm(&self) {
            self.tell(&LogUpdate::Confirmed { at: NOON + Duration::from_secs(self.length) });
        }

        fn grow(&mut self, by: u64) {
            for _ in 0..by {
                self.length += 1;
                self.tell(&LogUpdate::Entry { position: position(self.length), entry: entry(self.length) });
            }
        }

        fn watch(&self, after: &Revision) -> Pin<Box<dyn Stream<Item = FeedMessage>>> {
            Box::pin(self.feed.clone().watch(realm(), after))
        }
    }

    /// What a watcher holds.
    #[derive(Default)]
    struct Held {
        entries: HashSet<RevocationEntry>,
        snapshots: usize,
        knowledge: Option<Knowledge>,
    }

    impl Held {
        async fn read_until(
            &mut self,
            stream: &mut Pin<Box<dyn Stream<Item = FeedMessage>>>,
            reached: impl Fn(&Self) -> bool,
        ) {
            while !reached(self) {
                match stream.next().await.expect("endless") {
                    FeedMessage::Snapshot(entries, knowledge) => {
                        assert!(entries.len() <= CHUNK);
                        self.entries.extend(entries);
                        self.snapshots += usize::from(knowledge.is_some());
                        self.knowledge = knowledge.or(self.knowledge.take());
                    }
                    FeedMessage::Delta(entries, _) => {
                        assert!(entries.len() <= CHUNK);
                        self.entries.extend(entries);
                    }
                    FeedMessage::Heartbeat(knowledge) => self.knowledge = Some(knowledge),
                }
            }
        }
    }

    #[tokio::test]
    async fn everything_comes_first_and_then_what_is_added() {
        let mut log = Log::new();
        log.grow(3 * CHUNK as u64);
        let mut stream = log.watch(&Revision::default());
        let mut held = Held::default();
        held.read_until(&mut stream, |held| held.snapshots == 1).await;
        assert_eq!(held.entries.len(), 3 * CHUNK);
        log.grow(2);
        log.confirm();
        let end = NOON + Duration::from_secs(log.length);
        held.read_until(&mut stream, |held| held.knowledge.as_ref().is_some_and(|known| known.as_of == end)).await;
        assert_eq!(held.entries.len(), 3 * CHUNK + 2, "a heartbeat overtook an entry");
        assert_eq!(held.knowledge.map(|known| known.revision), Some(Revision::at(position(log.length))));
    }

    #[tokio::test]
    async fn who_comes_back_goes_on_where_it_was() {
        let mut log = Log::new();
        log.grow(5);
        let known = Revision::at(position(3));
        let mut stream = log.watch(&known);
        let FeedMessage::Delta(entries, _) = stream.next().await.expect("endless") else { panic!("no delta") };
        assert_eq!(entries, [entry(4), entry(5)]);
        // Of another history of the log, or of a time before anything that is kept.
        for strange in [Position { tag: 8, ..position(3) }, position(9)] {
            let mut stream = log.watch(&Revision::at(strange));
            let mut held = Held::default();
            held.read_until(&mut stream, |held| held.snapshots == 1).await;
            assert_eq!(held.entries.len(), 5);
        }
    }

    #[tokio::test]
    async fn who_comes_back_is_told_nothing_of_other_realms() {
        let log = Log::new();
        let of = |name: &str| RealmName::parse(name).expect("a realm");
        for (number, name) in [(1, "other"), (2, "web")] {
            let entry = RevocationEntry { scope: RevocationScope::Realm(of(name), NOON), ..entry(number) };
            log.tell(&LogUpdate::Entry { position: position(number), entry });
        }
        let mut stream = log.watch(&Revision::at(position(0)));
        let FeedMessage::Delta(entries, _) = stream.next().await.expect("endless") else { panic!("no delta") };
        let scopes: Vec<_> = entries.into_iter().map(|entry| entry.scope).collect();
        assert_eq!(scopes, [RevocationScope::Realm(of("web"), NOON)]);
    }

    #[tokio::test]
    async fn no_revision_is_ahead_of_what_was_sent() {
        let mut log = Log::new();
        log.grow(1);
        // The index learns of the next entry before the log's followers do.
        log.feed.index.apply(&LogUpdate::Entry { position: position(2), entry: entry(2) });
        log.confirm();
        let mut held = Held::default();
        let mut stream = log.watch(&Revision::default());
        held.read_until(&mut stream, |held| held.knowledge.is_some()).await;
        assert_eq!(held.knowledge.take().map(|known| known.revision), Some(Revision::at(position(1))));
        held.read_until(&mut stream, |held| held.knowledge.is_some()).await;
        assert_eq!(held.knowledge.map(|known| known.revision), Some(Revision::at(position(1))));
    }

    #[tokio::test]
    async fn who_lags_gets_everything_again() {
        let mut log = Log::new();
        let mut stream = log.watch(&Revision::default());
        let mut held = Held::default();
        held.read_until(&mut stream, |held| held.snapshots == 1).await;
        log.grow(KEPT as u64 + 1);
        held.read_until(&mut stream, |held| held.snapshots == 2).await;
        assert_eq!(held.entries.len(), KEPT + 1);
        assert!(log.feed.lock().kept.len() == KEPT, "bounded");
    }

    #[tokio::test]
    async fn what_a_repaired_partition_holds_reaches_watchers() {
        let log = Log::new();
        let mut stream = log.watch(&Revision::default());
        let mut held = Held::default();
        held.read_until(&mut stream, |held| held.snapshots == 1).await;
        // Known here already, since this instance made it; its publication was lost.
        log.feed.index.insert(&entry(1));
        log.tell(&LogUpdate::Snapshot { head: position(1), entries: vec![entry(1)] });
        held.read_until(&mut stream, |held| held.entries.contains(&entry(1))).await;
        let mut again = pin!(log.watch(&Revision::at(position(0))));
        let FeedMessage::Delta(entries, _) = again.next().await.expect("endless") else { panic!("no delta") };
        assert_eq!(entries, [entry(1)]);
    }

    #[tokio::test]
    async fn nothing_is_told_before_the_whole_log_was_read() {
        let feed = Arc::new(RevocationFeed::new(Arc::new(RevocationIndex::new(1))));
        let mut stream = pin!(feed.watch(realm(), &Revision::default()));
        let early = tokio::time::timeout(Duration::from_millis(50), stream.next()).await;
        assert!(early.is_err(), "{early:?}");
    }
}
