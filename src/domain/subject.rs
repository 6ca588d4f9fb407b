//! The subject record: everything that the authority knows about one subject, small and bounded.

use std::collections::VecDeque;
use std::time::Duration;

use super::device::{DEVICE_REMEMBERED, KnownDevice, MAX_DEVICE_BYTES, MAX_DEVICES, Trust};
use super::fact::{ENTRY_SLACK, EndReason, Fact};
use super::ids::{DeviceId, SessionId, Subject};
use super::policy::RealmPolicy;
use super::rate_limit::Used;
use super::refusal::Refusal;
use super::session::{Device, Session};
use super::time::Timestamp;

/// How many ended sessions a record remembers, to tell their clients why.
const REMEMBERED_ENDS: usize = 8;

/// How long a record outlives the idle expiry of its last session.
const IDLE_REMEMBERED: Duration = Duration::from_secs(600);

/// How far behind the clock the epoch of a token without a record lies: more than clocks differ, and
/// less than a record outlives the raising of its epoch.
const UNRECORDED_EPOCH_AGE: Duration = Duration::from_secs(30);

/// A session that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// Its id.
    pub id: SessionId,
    /// Why it ended.
    pub reason: EndReason,
}

/// A login that may be repeated, because its answer may have been lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRequest {
    /// What the caller named it.
    pub id: RequestId,
    /// The session that it opened.
    pub session: SessionId,
    /// When.
    pub time: Timestamp,
}

/// A `request_id` with what was asked, both as digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    /// Of the caller's id.
    pub name: [u8; 16],
    /// Of everything else in the request.
    pub content: [u8; 16],
}

/// How long a login can be repeated under its request id.
pub const REQUEST_REMEMBERED: Duration = Duration::from_secs(600);
/// About how large a record may grow: every change writes all of it.
const MAX_BYTES: usize = 64 << 10;
/// The most requests that a record remembers.
pub const MAX_REQUESTS: usize = 16;

/// What was used of a realm's limits on its subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Of `refresh_by_subject`.
    pub refreshes: Used,
    /// Of `issue_by_subject`.
    pub logins: Used,
}

/// All sessions of one subject in one realm. Changed only by transitions.
#[derive(Debug, Clone, PartialEq)]
pub struct SubjectRecord {
    /// Whose record it is; `None` once that was erased, until the next login.
    pub subject: Option<Subject>,
    /// The epoch that sessionless tokens carry.
    pub epoch: u32,
    /// Sessionless tokens of an earlier epoch than this are ended; 0 if none ever were.
    pub ended_below: u32,
    /// Until when the epoch, single revocations and ended sessions must be remembered.
    pub keep_until: Timestamp,
    /// Live sessions, oldest first.
    pub sessions: Vec<Session>,
    /// The last few that ended, oldest first.
    pub ended: VecDeque<EndedSession>,
    /// The latest logins that named their request, oldest first.
    pub requests: Vec<NamedRequest>,
    /// The devices that were used, in the order of their first use.
    pub devices: Vec<KnownDevice>,
    /// What was used of the limits on the subject.
    pub rates: Rates,
    /// The time of the last change: a clock that runs behind it is not believed.
    pub changed: Timestamp,
}

impl SubjectRecord {
    /// A record of a subject that nothing is known of.
    pub fn new(now: Timestamp) -> Self {
        Self {
            subject: None,
            epoch: Self::epoch_for_issue(None, now),
            ended_below: 0,
            keep_until: Timestamp::ZERO,
            sessions: Vec::new(),
            ended: VecDeque::new(),
            requests: Vec::new(),
            devices: Vec::new(),
            rates: Rates::default(),
            changed: Timestamp::ZERO,
        }
    }

    /// When nothing in it matters any more and the store may drop it. A session that went idle
    /// stays for a while, so that its client can be told why; so does the count of logins, or else logging
    /// out would reset it.
    pub fn expires(&self) -> Timestamp {
        let gone = |session: &Session| session.expires.min(session.idle_expires + IDLE_REMEMBERED);
        let trusted = self.devices.iter().map(|device| device.trusted_until);
        let keep_until = self.keep_until.max(self.rates.logins.over());
        self.sessions.iter().map(gone).chain(trusted).fold(keep_until, Timestamp::max)
    }

    /// The sessions that live at `now`.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(move |session| now < session.ends())
    }

    /// A session in the record, expired or not.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    /// What to tell the client of a session that is not in the record.
    pub fn refusal_for_absent(&self, id: SessionId) -> Refusal {
        match self.ended.iter().find(|ended| ended.id == id).map(|ended| ended.reason) {
            Some(EndReason::Replay) => Refusal::RefreshTokenReplayed,
            Some(EndReason::Expired) => Refusal::RefreshTokenExpired,
            Some(EndReason::Idle) => Refusal::SessionIdle,
            _ => Refusal::SessionEnded,
        }
    }

    /// About how many bytes it takes, with one more session perhaps.
    fn weight(&self, more: Option<&Session>) -> usize {
        let devices: usize = self.devices.iter().map(KnownDevice::weight).sum();
        devices + self.sessions.iter().chain(more).map(Session::weight).sum::<usize>()
    }

    /// Whether everything fits into a record, one more among them perhaps.
    pub(super) fn fits(&self, more: Option<&Session>) -> bool {
        self.weight(more) <= MAX_BYTES
    }

    pub(super) fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// Ends the sessions that `ends` names a reason for, after `advance`.
    pub(super) fn end_where(&mut self, facts: &mut Vec<Fact>, mut ends: impl FnMut(&Session) -> Option<EndReason>) {
        let (ended, keep_until, now) = (&mut self.ended, &mut self.keep_until, self.changed);
        self.sessions.retain(|session| {
            let Some(reason) = ends(session) else { return true };
            if ended.len() == REMEMBERED_ENDS {
                ended.pop_front();
            }
            ended.push_back(EndedSession { id: session.id, reason });
            // An entry that is over at once would say nothing of a session whose end a store lost.
            let access_until = session.access_until.max(now);
            // Its client comes back while it believes its access token good, and is told why.
            *keep_until = (*keep_until).max(access_until + ENTRY_SLACK);
            facts.push(Fact::SessionEnded { session: session.id, reason, access_until });
            false
        });
    }

    /// The epoch of a sessionless token issued now. Epochs are seconds, so that they grow even when a
    /// record was dropped and made anew: a token that outlived its record is not out of reach, and an
    /// entry that outlived it ends nothing new.
    pub fn epoch_for_issue(record: Option<&Self>, now: Timestamp) -> u32 {
        record.map_or_else(|| seconds(now - UNRECORDED_EPOCH_AGE), |record| record.epoch)
    }

    /// Ends the sessionless tokens of every epoch so far.
    pub(super) fn raise_epoch(&mut self, now: Timestamp) {
        self.epoch = self.epoch.max(seconds(now)).saturating_add(1);
        self.ended_below = self.epoch;
    }

    /// Forgets what time has ended, or somebody outside. Part of every change, so that a record never grows by age.
    pub(super) fn advance(&mut self, now: Timestamp, cut_off: &[SessionId], facts: &mut Vec<Fact>) {
        self.changed = now;
        self.requests.retain(|request| now.since(request.time) < REQUEST_REMEMBERED);
        self.end_where(facts, |session| {
            expiry(session, now).or_else(|| cut_off.contains(&session.id).then_some(EndReason::CutOff))
        });
        let sessions = &self.sessions;
        self.devices.retain(|known| {
            let runs = sessions.iter().any(|session| session.device.id == known.device.id);
            runs || known.trust(now) == Trust::Trusted || now.since(known.last_used) < DEVICE_REMEMBERED
        });
    }

    /// How far a device is trusted: what has no id never is.
    pub fn trust(&self, device: &Device, now: Timestamp) -> Trust {
        let known = device.id.as_ref().and_then(|id| self.device(id));
        known.map_or(Trust::Untrusted, |known| known.trust(now))
    }

    /// A device that was used.
    pub fn device(&self, id: &DeviceId) -> Option<&KnownDevice> {
        self.devices.iter().find(|known| known.is(id))
    }

    pub(super) fn device_mut(&mut self, id: &DeviceId) -> Option<&mut KnownDevice> {
        self.devices.iter_mut().find(|known| known.is(id))
    }

    /// Notes that a device is used, after `advance`, perhaps with what it says of itself now. Tells how far it
    /// is trusted, or why it may not be used.
    pub(super) fn use_device(
        &mut self,
        id: Option<&DeviceId>,
        reported: Option<&Device>,
        policy: &RealmPolicy,
        facts: &mut Vec<Fact>,
    ) -> Result<Trust, Refusal> {
        let (policy, now) = (&policy.devices, self.changed);
        let Some(id) = id else { return policy.admit(Trust::Untrusted) };
        self.keep_until = self.keep_until.max(policy.remember_until(now));
        let known = self.devices.iter_mut().find(|known| known.is(id));
        match (known, reported) {
            (Some(known), Some(reported)) => {
                known.report(reported, now, policy.on_change, facts)?;
                policy.admit(known.trust(now))
            }
            (Some(known), None) => {
                let trust = policy.admit_silent(known.trust(now))?;
                known.last_used = now;
                Ok(trust)
            }
            (None, Some(reported)) => {
                let new = KnownDevice::new(Device { id: Some(id.clone()), ..reported.clone() }, now);
                self.make_room_for_device(&new);
                self.devices.push(new);
                facts.push(Fact::DeviceRegistered(id.clone()));
                policy.admit(Trust::Untrusted)
            }
            (None, None) => policy.admit_silent(Trust::Untrusted),
        }
    }

    /// Forgets what is least missed: the untrusted first, then those without a session, then the longest unused.
    fn make_room_for_device(&mut self, new: &KnownDevice) {
        let weight = |devices: &[KnownDevice]| devices.iter().map(KnownDevice::weight).sum::<usize>();
        while self.devices.len() >= MAX_DEVICES || weight(&self.devices) + new.weight() > MAX_DEVICE_BYTES {
            let missed = |known: &KnownDevice| {
                let runs = self.sessions.iter().any(|session| session.device.id == known.device.id);
                (known.trust(self.changed) == Trust::Trusted, runs, known.last_used)
            };
            let least = (0..self.devices.len()).min_by_key(|index| missed(&self.devices[*index]));
            let Some(least) = least else { return };
            self.devices.remove(least);
        }
    }
}

fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.seconds()).unwrap_or(0)
}

/// Whether and how time has ended the session.
pub(super) fn expiry(session: &Session, now: Timestamp) -> Option<EndReason> {
    if now >= session.expires {
        Some(EndReason::Expired)
    } else if now >= session.idle_expires {
        Some(EndReason::Idle)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_grow_though_a_record_was_dropped_and_made_anew() {
        let time = |seconds: i64| Timestamp::from_seconds(1_800_000_000 + seconds);
        let mut first = SubjectRecord::new(time(0));
        let before = SubjectRecord::epoch_for_issue(Some(&first), time(0));
        first.raise_epoch(time(0));
        first.raise_epoch(time(0));
        let after = SubjectRecord::epoch_for_issue(Some(&first), time(0));
        assert!(before < first.epoch && after >= first.epoch);
        // The record was dropped; its entry may still be in an index.
        let unrecorded = SubjectRecord::epoch_for_issue(None, time(61));
        assert!(unrecorded >= first.epoch);
        let mut second = SubjectRecord::new(time(61));
        second.raise_epoch(time(62));
        assert!(second.epoch > unrecorded && second.epoch > after, "what the first record issued ends too");
    }
}
