//! What a subject has open, as it is shown, and how one look at it differs from the next.

use super::device::{KnownDevice, Trust};
use super::ids::SessionId;
use super::session::Session;
use super::subject::SubjectRecord;
use super::time::Timestamp;

/// A session that lives.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveSession {
    /// The session.
    pub session: Session,
    /// Whether its device is trusted now.
    pub trust: Trust,
}

/// A known device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveDevice {
    /// The device.
    pub device: KnownDevice,
    /// Whether it is trusted now.
    pub trust: Trust,
    /// How many live sessions it has.
    pub sessions: usize,
}

/// What happened to a session between two looks. Several steps of one kind are one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A login opened it.
    Opened,
    /// Its refresh token was used.
    Refreshed,
    /// Its claims, its device or the trust in that changed.
    Updated,
    /// It is over.
    Ended,
}

/// A session that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// The session as it is; an ended one as it was last.
    pub session: LiveSession,
    /// When.
    pub time: Timestamp,
}

/// The sessions that live and were not ended from outside the record, newest first.
pub fn live_sessions(
    record: Option<&SubjectRecord>,
    now: Timestamp,
    cut_off: impl Fn(&Session) -> bool,
) -> Vec<LiveSession> {
    let Some(record) = record else { return Vec::new() };
    let standing = record.live(now).filter(|session| !cut_off(session));
    let live =
        standing.map(|session| LiveSession { trust: record.trust(&session.device, now), session: session.clone() });
    let mut live: Vec<_> = live.collect();
    live.reverse();
    live
}

/// The devices that the subject has used, the latest used first.
pub fn known_devices(
    record: Option<&SubjectRecord>,
    now: Timestamp,
    cut_off: impl Fn(&Session) -> bool,
) -> Vec<LiveDevice> {
    let Some(record) = record else { return Vec::new() };
    let runs = |device: &KnownDevice, session: &Session| session.device.id == device.device.id && !cut_off(session);
    let mut devices: Vec<_> = record
        .devices
        .iter()
        .map(|device| LiveDevice {
            trust: device.trust(now),
            sessions: record.live(now).filter(|session| runs(device, session)).count(),
            device: device.clone(),
        })
        .collect();
    devices.sort_by_key(|live| std::cmp::Reverse(live.device.last_used));
    devices
}

/// What happened between two looks, in the order in which it is told: ends, then what is new or changed,
/// oldest first. `changed` is when the record changed last; `now`, when it was looked at again.
pub fn changes(before: &[LiveSession], after: &[LiveSession], changed: Timestamp, now: Timestamp) -> Vec<Change> {
    let find = |sessions: &[LiveSession], id: SessionId| sessions.iter().position(|live| live.session.id == id);
    let ended = before.iter().rev().filter(|live| find(after, live.session.id).is_none()).map(|live| {
        let ends = live.session.ends();
        Change { kind: ChangeKind::Ended, session: live.clone(), time: if ends <= now { ends } else { changed } }
    });
    let standing = after.iter().rev().filter_map(|live| {
        let session = &live.session;
        let (kind, time) = match find(before, session.id).map(|index| &before[index]) {
            None => (ChangeKind::Opened, session.created),
            Some(known) if known == live => return None,
            Some(known) if known.session.access.random != session.access.random => {
                (ChangeKind::Refreshed, session.refreshed)
            }
            Some(_) => (ChangeKind::Updated, changed),
        };
        Some(Change { kind, session: live.clone(), time })
    });
    ended.chain(standing).collect()
}
