//! Every revocation that could still matter, in memory: a grow-only set with expiry, so that neither
//! order nor repetition of what is applied counts. Knows how far each partition's log has been read,
//! not where it comes from.

mod entries;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use entries::{Random, Shard, Until, Wide};

use super::token::VerifiedToken;
use super::uniform::Uniform;
use crate::domain::ids::{ClientId, KeyId, RealmName, Route, SessionId, SubjectKey};
use crate::domain::revocation::{LogUpdate, Position, Revision, RevocationEntry, RevocationScope};
use crate::domain::time::Timestamp;

/// Locks that writers and readers rarely meet at.
const SHARDS: usize = 64;

/// The revocations that a verifier asks.
#[derive(Debug)]
pub struct RevocationIndex {
    shards: Box<[RwLock<Shard>]>,
    wide: RwLock<Wide>,
    /// Whether `wide` has an entry at all; spares every check its lock while it has none.
    any_wide: AtomicBool,
    /// How far each partition's log has been applied; `None` before its first snapshot.
    heads: RwLock<Box<[Option<Position>]>>,
    progress: watch::Sender<()>,
    /// Whatever was revoked up to this time, in milliseconds, is in.
    as_of: AtomicI64,
    born: Instant,
    /// When that was heard, in milliseconds since `born`. By the steady clock: a wall clock that is set
    /// makes no knowledge older.
    heard: AtomicU64,
}

impl RevocationIndex {
    /// Empty, for a log of so many partitions.
    pub fn new(partitions: u16) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            wide: RwLock::default(),
            any_wide: AtomicBool::new(false),
            heads: RwLock::new(vec![None; usize::from(partitions)].into()),
            progress: watch::Sender::new(()),
            as_of: AtomicI64::new(i64::MIN),
            born: Instant::now(),
            heard: AtomicU64::new(0),
        }
    }

    /// Takes in what a follower of the log was told.
    pub fn apply(&self, update: &LogUpdate) {
        match update {
            LogUpdate::Snapshot { head, entries } => {
                entries.iter().for_each(|entry| self.insert(entry));
                // Not the later of the two: after a failover the log really is back at `head`, and
                // what follows there has smaller numbers than what was lost.
                self.advance(*head, |_| Some(*head));
            }
            // In force already, since they were told.
            LogUpdate::Lost { .. } => {}
            LogUpdate::Confirmed { at } => {
                self.as_of.fetch_max(at.millis(), Ordering::Release);
                self.heard.fetch_max(self.age(), Ordering::Release);
            }
            LogUpdate::Entry { position, entry } => {
                self.insert(entry);
                // Before the snapshot, earlier entries are missing: no head yet.
                self.advance(*position, |known| known.map(|known| known.max(*position)));
            }
        }
    }

    /// Whether every token of this key is ended.
    pub fn key_ended(&self, kid: &KeyId) -> bool {
        self.any_wide.load(Ordering::Acquire) && read(&self.wide).ends_key(kid)
    }

    /// Whether any entry ends the token: the latest cut-off over all scopes counts.
    pub fn ended(&self, token: &VerifiedToken) -> bool {
        let (id, epoch) = (Uniform(token.id.random), token.id.epoch);
        if self.shard(id).ends_token(id) {
            return true;
        }
        let by_owner = match (token.session, token.id.route) {
            (Some(sid), _) => {
                let session = Uniform(sid.session.0);
                self.shard(session).ends_epoch_of_session(session, epoch)
            }
            (None, Route::Subject { subject, .. }) => {
                let subject = Uniform(subject.0);
                self.shard(subject).ends_epoch_of_subject(subject, epoch)
            }
            (None, _) => false,
        };
        by_owner || self.ended_widely(token)
    }

    /// Whether the session has been ended. Asked at refresh too, where a failover may have brought
    /// back a record from before the end.
    pub fn session_ended(&self, session: SessionId) -> bool {
        let session = Uniform(session.0);
        self.shard(session).ends_session(session)
    }

    /// Sessions of the client opened at or before this time are ended, by the client or the realm.
    pub fn cut_off(&self, realm: &RealmName, client: &ClientId) -> Option<Timestamp> {
        if !self.any_wide.load(Ordering::Acquire) {
            return None;
        }
        read(&self.wide).cut_off(realm, client)
    }

    /// One part of everything that it holds, so that no part keeps others waiting for long; `None` after
    /// the last.
    pub fn part(&self, number: usize) -> Option<Vec<RevocationEntry>> {
        match number.checked_sub(1) {
            None => Some(read(&self.wide).entries().collect()),
            Some(shard) => Some(read(self.shards.get(shard)?).entries().collect()),
        }
    }

    /// How many partitions the log has.
    pub fn partitions(&self) -> usize {
        read(&self.heads).len()
    }

    /// Whether every partition's log has been read once. Before that, silence proves nothing.
    pub fn is_complete(&self) -> bool {
        read(&self.heads).iter().all(Option::is_some)
    }

    /// Whatever was revoked up to this time is in; `None` before that was confirmed once.
    pub fn as_of(&self) -> Option<Timestamp> {
        let as_of = self.as_of.load(Ordering::Acquire);
        (as_of != i64::MIN).then(|| Timestamp::from_millis(as_of))
    }

    /// How long ago it was confirmed that nothing is missing, or this index was made.
    pub fn staleness(&self) -> Duration {
        Duration::from_millis(self.age().saturating_sub(self.heard.load(Ordering::Acquire)))
    }

    /// Whether everything up to the revision has been applied.
    pub fn covers(&self, revision: &Revision) -> bool {
        let heads = read(&self.heads);
        revision.positions().iter().all(|wanted| {
            let head = heads.get(usize::from(wanted.partition)).copied().flatten();
            // An equal number with another tag is another entry: the log went back and grew anew.
            head.is_some_and(|head| head.number > wanted.number || head == *wanted)
        })
    }

    /// Waits until the revision is covered. Bound it with a timeout.
    pub async fn covered(&self, revision: &Revision) {
        self.until(|index| index.covers(revision)).await;
    }

    /// Waits until every partition's log has been read once. Bound it with a timeout.
    pub async fn complete(&self) {
        self.until(Self::is_complete).await;
    }

    /// How far the logs have been applied.
    pub fn revision(&self) -> Revision {
        read(&self.heads).iter().flatten().copied().collect()
    }

    /// How far those of two partitions have been, which may be one.
    pub fn revision_of(&self, partitions: [u16; 2]) -> Revision {
        let heads = read(&self.heads);
        let [first, second] = partitions.map(|partition| heads.get(usize::from(partition)).copied().flatten());
        first.into_iter().chain(second.filter(|_| first != second)).collect()
    }

    /// Forgets what only expired tokens could meet.
    pub fn prune(&self, now: Timestamp) {
        self.shards.iter().for_each(|shard| write(shard).prune(now));
        let mut wide = write(&self.wide);
        wide.prune(now);
        self.any_wide.store(wide.len() > 0, Ordering::Release);
    }

    /// How many entries it holds.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum::<usize>() + read(&self.wide).len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in one entry, wherever it stands in the log: the order does not matter.
    pub fn insert(&self, entry: &RevocationEntry) {
        let until = Until::new(entry.until);
        match &entry.scope {
            RevocationScope::Token(id) => self.shard_mut(Uniform(*id)).end_token(Uniform(*id), until),
            RevocationScope::Session(SessionId(id)) => self.shard_mut(Uniform(*id)).end_session(Uniform(*id), until),
            RevocationScope::SessionEpoch(SessionId(id), below) => {
                self.shard_mut(Uniform(*id)).end_epochs_of_session(Uniform(*id), *below, until);
            }
            RevocationScope::SubjectEpoch(SubjectKey(id), below) => {
                self.shard_mut(Uniform(*id)).end_epochs_of_subject(Uniform(*id), *below, until);
            }
            RevocationScope::Key(kid) => self.widely(|wide| wide.end_key(kid, until)),
            RevocationScope::Client(realm, client, at) => {
                self.widely(|wide| wide.cut_off_client(realm, client, *at, until));
            }
            RevocationScope::Realm(realm, at) => self.widely(|wide| wide.cut_off_realm(realm, *at, until)),
        }
    }

    fn widely(&self, end: impl FnOnce(&mut Wide)) {
        let mut wide = write(&self.wide);
        end(&mut wide);
        self.any_wide.store(true, Ordering::Release);
    }

    /// In milliseconds.
    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ended_widely(&self, token: &VerifiedToken) -> bool {
        if !self.any_wide.load(Ordering::Acquire) {
            return false;
        }
        // An exchanged token hangs on the client that holds it and on the one whose session it is from.
        let mut clients = std::iter::once(&token.client).chain(&token.session_client);
        let by_time = clients.any(|client| self.cut_off(&token.realm, client).is_some_and(|at| token.id.origin <= at));
        by_time || self.key_ended(&token.kid)
    }

    fn advance(&self, position: Position, head: impl FnOnce(Option<Position>) -> Option<Position>) {
        if let Some(known) = write(&self.heads).get_mut(usize::from(position.partition)) {
            *known = head(*known);
        }
        self.progress.send_replace(());
    }

    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        let mut progress = self.progress.subscribe();
        while !reached(self) {
            // Can't fail while `self` holds the sender.
            let _ = progress.changed().await;
        }
    }

    fn shard(&self, key: Random) -> RwLockReadGuard<'_, Shard> {
        read(&self.shards[usize::from(key.0[0]) % SHARDS])
    }

    fn shard_mut(&self, key: Random) -> RwLockWriteGuard<'_, Shard> {
        write(&self.shards[usize::from(key.0[0]) % SHARDS])
    }
}

/// Every change is one insertion: a panicking thread leaves nothing half done.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, feature = "server"))]
mod tests;
