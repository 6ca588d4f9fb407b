//! What watchers get, whatever happens to the log and to them.

use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::StreamExt as _;

use super::additions::{CHUNK, KEPT};
use super::*;
use crate::domain::ids::SessionId;
use crate::domain::revocation::{Position, RevocationScope};

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

#[tokio::test]
async fn each_partition_goes_on_where_it_was() {
    let feed = Arc::new(RevocationFeed::new(Arc::new(RevocationIndex::new(2))));
    let at = |partition, number| Position { partition, ..position(number) };
    let tell = |update: LogUpdate| {
        feed.index.apply(&update);
        feed.append(&update);
    };
    for partition in [0, 1] {
        tell(LogUpdate::Snapshot { head: at(partition, 0), entries: Vec::new() });
    }
    for (number, position) in [(1, at(0, 1)), (2, at(1, 1)), (3, at(0, 2))] {
        tell(LogUpdate::Entry { position, entry: entry(number) });
    }
    for (held, missing) in [([at(0, 1), at(1, 0)], vec![entry(2), entry(3)]), ([at(0, 2), at(1, 0)], vec![entry(2)])] {
        let mut stream = pin!(feed.clone().watch(realm(), &held.into_iter().collect()));
        let FeedMessage::Delta(entries, _) = stream.next().await.expect("endless") else { panic!("no delta") };
        assert_eq!(entries, missing);
    }
}

fn named(name: &str) -> SubscriberName {
    SubscriberName::parse(name).expect("a name")
}

/// A subscriber that has acknowledged everything that it was sent first.
async fn subscriber(
    feed: &Arc<RevocationFeed>,
    name: &str,
) -> (Subscription, Pin<Box<dyn Stream<Item = (FeedMessage, Option<Receipt>)>>>) {
    let (subscription, messages) = feed.clone().subscribe(realm(), &Revision::default(), named(name));
    let mut messages: Pin<Box<dyn Stream<Item = _>>> = Box::pin(messages);
    subscription.applied(receipt(&mut messages).await);
    (subscription, messages)
}

async fn receipt(messages: &mut Pin<Box<dyn Stream<Item = (FeedMessage, Option<Receipt>)>>>) -> Receipt {
    loop {
        if let (_, Some(receipt)) = messages.next().await.expect("endless") {
            return receipt;
        }
    }
}

#[tokio::test]
async fn a_tally_counts_who_has_applied_all_up_to_the_revision() {
    let mut log = Log::new();
    let (prompt, mut sent) = subscriber(&log.feed, "prompt").await;
    let (_idle, _) = subscriber(&log.feed, "idle").await;
    let (_starting, _) = log.feed.clone().subscribe(realm(), &Revision::default(), named("starting"));
    let elsewhere = RealmName::parse("other").expect("a realm");
    let (_other, _) = log.feed.clone().subscribe(elsewhere, &Revision::default(), named("other"));
    let tally = |log: &Log, number| {
        let tally = log.feed.tally(&mut Question::new(realm(), Revision::at(position(number))));
        (tally.enforced, tally.subscribers)
    };
    assert_eq!(tally(&log, 0), (2, 3), "the snapshot had it");
    assert_eq!(tally(&log, 1), (0, 3), "not heard of yet");
    log.grow(3);
    assert_eq!(tally(&log, 1), (0, 3));
    prompt.applied(receipt(&mut sent).await);
    assert_eq!([1, 3, 4].map(|number| tally(&log, number)), [(1, 3), (1, 3), (0, 3)]);
    // Numbers 4 and 5 were never published; the second reading has them, at its head.
    let entries = (1..=5).map(entry).collect();
    log.tell(&LogUpdate::Snapshot { head: position(5), entries });
    assert_eq!([3, 4, 5].map(|number| tally(&log, number)), [(1, 3), (0, 3), (0, 3)]);
    prompt.applied(receipt(&mut sent).await);
    log.length = 5;
    log.grow(1);
    assert_eq!([4, 5, 6].map(|number| tally(&log, number)), [(1, 3), (1, 3), (0, 3)]);
    prompt.applied(Receipt(u64::MAX));
    assert_eq!(tally(&log, 6), (1, 3));
    log.grow(1);
    assert_eq!(tally(&log, 7), (0, 3), "nobody acknowledges what has not come");
    drop(prompt);
    assert_eq!(tally(&log, 0), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn who_owes_a_receipt_for_seconds_lags_until_it_comes() {
    let mut log = Log::new();
    let (late, mut sent) = subscriber(&log.feed, "late").await;
    let lagging = |log: &Log| {
        log.feed.look_for_lagging();
        log.feed.lagging().into_iter().map(|one| (one.name.to_string(), one.lag.as_secs())).collect::<Vec<_>>()
    };
    let (_starting, _) = log.feed.clone().subscribe(realm(), &Revision::default(), named("starting"));
    tokio::time::advance(Duration::from_secs(10)).await;
    log.grow(1);
    assert_eq!(lagging(&log), [("starting".to_owned(), 10)], "it came with nothing");
    tokio::time::advance(Duration::from_secs(2)).await;
    log.grow(1);
    assert_eq!(lagging(&log).len(), 1, "not for long yet");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(lagging(&log), [("starting".to_owned(), 14), ("late".to_owned(), 4)]);
    late.applied(receipt(&mut sent).await);
    assert_eq!(lagging(&log).len(), 1);
}
