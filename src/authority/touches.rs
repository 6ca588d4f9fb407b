//! Activity of sessions that their tokens' checks show, written down behind the checks: noted in memory,
//! at most once an interval a session, and committed by a task. No answer waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use quick_cache::sync::Cache;
use tokio::sync::{Mutex, mpsc};
use tracing::debug;

use crate::domain::ids::{RealmName, SessionId, Sid};
use crate::domain::time::Timestamp;
use crate::domain::touch::{touch, touch_interval};
use crate::verify::VerifiedToken;

use super::{Authority, Error, Realm};

/// Sessions whose last touch is remembered; one that was forgotten is held against its record again.
const REMEMBERED: usize = 1 << 16;
/// Touches that wait to be written.
const WAITING: usize = 4_096;
/// Records that are written at the same time.
const AT_A_TIME: usize = 32;

/// What was seen and is not written yet.
#[derive(Debug)]
pub(super) struct Touches {
    /// When a session was last noted.
    noted: Cache<SessionId, Timestamp>,
    waiting: mpsc::Sender<Touch>,
    /// Held by the one that writes them.
    queue: Mutex<mpsc::Receiver<Touch>>,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Touch {
    realm: RealmName,
    session: Sid,
    seen: Timestamp,
}

impl Default for Touches {
    fn default() -> Self {
        let (waiting, queue) = mpsc::channel(WAITING);
        Self { noted: Cache::new(REMEMBERED), waiting, queue: Mutex::new(queue), dropped: AtomicU64::new(0) }
    }
}

impl Touches {
    fn note(&self, realm: &RealmName, timeout: Duration, session: Sid, seen: Timestamp) {
        let noted = self.noted.get(&session.session);
        if noted.is_some_and(|noted| seen.since(noted) < touch_interval(timeout)) {
            return;
        }
        let Ok(place) = self.waiting.try_reserve() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.noted.insert(session.session, seen);
        place.send(Touch { realm: realm.clone(), session, seen });
    }
}

impl Authority {
    /// Notes that an access token was used. For nothing where the realm has no idle timeout.
    pub(super) fn note_use(&self, realm: &Realm, token: &VerifiedToken) {
        if let (Some(timeout), Some(session)) = (realm.policy.idle_timeout, token.session) {
            self.touches.note(realm.name(), timeout, session, self.now());
        }
    }

    /// How many touches were dropped because too many waited. Their sessions' next use is a touch again.
    pub fn touches_dropped(&self) -> u64 {
        self.touches.dropped.load(Ordering::Relaxed)
    }

    /// Writes touches for as long as it is awaited.
    pub async fn write_touches(self: Arc<Self>) {
        let mut queue = self.touches.queue.lock().await;
        let waiting = futures::stream::poll_fn(|context| queue.poll_recv(context));
        waiting.for_each_concurrent(AT_A_TIME, |touch| self.write_touch(touch)).await;
    }

    async fn write_touch(&self, noted: Touch) {
        let id = noted.session.session;
        if let Err(error) = self.commit_touch(noted).await {
            debug!(%error, "a session's activity was not written");
            self.touches.noted.remove(&id);
        }
    }

    async fn commit_touch(&self, Touch { realm, session, seen }: Touch) -> Result<(), Error> {
        let realm = self.realm(realm.as_str())?;
        let written =
            self.change(&realm, session.into(), move |record, context| touch(record, session.session, seen, context));
        written.await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SubjectKey;

    const TIMEOUT: Duration = Duration::from_secs(1_800);

    fn session(number: usize) -> Sid {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Sid { pepper_id: 1, subject: SubjectKey([7; 16]), session: SessionId(id) }
    }

    #[test]
    fn a_session_is_noted_once_a_minute_and_a_full_queue_drops_and_counts() {
        let (touches, realm) = (Touches::default(), RealmName::parse("web").expect("a name"));
        let start = Timestamp::from_seconds(1_800_000_000);
        let waiting = || WAITING - touches.waiting.capacity();
        for (second, noted) in [(0, 1), (1, 1), (59, 1), (60, 2), (119, 2), (120, 3)] {
            touches.note(&realm, TIMEOUT, session(0), start + Duration::from_secs(second));
            assert_eq!(waiting(), noted, "{second} s");
        }
        (1..=WAITING).for_each(|number| touches.note(&realm, TIMEOUT, session(number), start));
        assert_eq!((waiting(), touches.dropped.load(Ordering::Relaxed)), (WAITING, 3));
        let mut queue = touches.queue.try_lock().expect("nobody writes");
        queue.try_recv().expect("one waits");
        touches.note(&realm, TIMEOUT, session(WAITING), start);
        assert_eq!(waiting(), WAITING, "what was dropped is noted at its next use");
    }
}
