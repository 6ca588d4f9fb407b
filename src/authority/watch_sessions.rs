//! What watchers of a subject's sessions are sent: all that live, then how each look at the record differs from
//! the one before. Whoever is slow looks less often, and misses nothing but steps in between. Knows no transport.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::domain::ids::Subject;
use crate::domain::live::{Change, LiveSession, changes, live_sessions};
use crate::domain::session::Place;
use crate::domain::subject::SubjectRecord;
use crate::domain::time::Timestamp;

use super::ports::{RecordKey, Seen, StoreError};
use super::{Authority, Error, Realm, is_cut_off};

/// How often is looked for what no commit tells: sessions that expire or are cut off, trust that lapses. A
/// watcher to whom nothing else is told hears that.
const TICK: Duration = Duration::from_secs(1);

/// One message to a watcher.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchMessage {
    /// Every session that lives, newest first, and as of when.
    Snapshot(Vec<LiveSession>, Timestamp),
    /// One session changed.
    Change(Change),
    /// Nothing else did up to then.
    Heartbeat(Timestamp),
}

impl Authority {
    /// The subject's sessions and what happens to them, and where their record stands. The stream ends with the
    /// first error, and with none otherwise.
    pub async fn watch_sessions(
        self: &Arc<Self>,
        realm: &str,
        subject: &Subject,
    ) -> Result<(Place, impl Stream<Item = Result<WatchMessage, Error>> + Send + use<>), Error> {
        let realm = self.realm(realm)?;
        self.check_index()?;
        let place = realm.place(subject);
        let key = realm.record_key(place);
        let seen = self.store.watch(&key).await?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watcher = Watcher {
            authority: self.clone(),
            realm,
            key,
            seen,
            heard: Instant::now(),
            tick,
            waiting: VecDeque::new(),
            record: None,
            read: 0,
            told: None,
        };
        let messages = unfold(Some(watcher), |watcher| async {
            let mut watcher = watcher?;
            let message = watcher.next().await;
            let goes_on = message.is_ok().then_some(watcher);
            Some((message, goes_on))
        });
        Ok((place, messages))
    }
}

struct Watcher {
    authority: Arc<Authority>,
    realm: Arc<Realm>,
    key: RecordKey,
    seen: watch::Receiver<Seen>,
    /// When the store told something last.
    heard: Instant,
    tick: Interval,
    /// What the last look found and is not told yet.
    waiting: VecDeque<Change>,
    record: Option<SubjectRecord>,
    /// How many changes the record had when it was read.
    read: u64,
    /// The sessions of the last look; `None` before the first.
    told: Option<Vec<LiveSession>>,
}

enum Woken {
    ByStore,
    ByTime,
}

impl Watcher {
    async fn next(&mut self) -> Result<WatchMessage, Error> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Ok(WatchMessage::Change(change));
            }
            let woken = match self.told {
                None => Woken::ByStore,
                Some(_) => self.wait().await?,
            };
            match woken {
                Woken::ByStore => self.heard = Instant::now(),
                Woken::ByTime if self.heard.elapsed() > self.authority.max_staleness => return Err(Error::NotFresh),
                Woken::ByTime => {}
            }
            let seen = *self.seen.borrow_and_update();
            let changed = self.read_if_changed(seen).await?;
            self.authority.check_index()?;
            let now = self.authority.now();
            let (index, realm) = (&self.authority.index, self.realm.name());
            let live = live_sessions(self.record.as_ref(), now, |session| is_cut_off(index, realm, session));
            let Some(told) = self.told.replace(live.clone()) else {
                return Ok(WatchMessage::Snapshot(live, seen.at));
            };
            self.waiting.extend(changes(&told, &live, changed.unwrap_or(now), now));
            if self.waiting.is_empty() && matches!(woken, Woken::ByTime) {
                return Ok(WatchMessage::Heartbeat(seen.at));
            }
        }
    }

    async fn wait(&mut self) -> Result<Woken, Error> {
        tokio::select! {
            changed = self.seen.changed() => changed
                .map(|()| Woken::ByStore)
                .map_err(|_| StoreError::Unavailable("the watch of a record ended".into()).into()),
            _ = self.tick.tick() => Ok(Woken::ByTime),
        }
    }

    /// Reads the record unless it is known as it is; when it was changed, if so.
    async fn read_if_changed(&mut self, seen: Seen) -> Result<Option<Timestamp>, Error> {
        if self.told.is_some() && seen.changes == self.read {
            return Ok(None);
        }
        self.record = self.authority.subjects.read(&self.key).await?;
        self.read = seen.changes;
        Ok(self.record.as_ref().map(|record| record.changed))
    }
}
