//! One subject's record, its store, and what those outside know of it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Step;
use crate::domain::end_session::{end_all, end_session};
use crate::domain::fact::Fact;
use crate::domain::ids::{KeyNumber, SessionId, SubjectKey};
use crate::domain::live::{ChangeKind, LiveSession, changes, live_sessions};
use crate::domain::policy::RealmPolicy;
use crate::domain::put_back::put_back;
use crate::domain::refusal::Refusal;
use crate::domain::revocation::RevocationEntry;
use crate::domain::session::Place;
use crate::domain::subject::SubjectRecord;
use crate::domain::time::Timestamp;
use crate::domain::token::RefreshToken;
use crate::domain::transition::{Context, Decision, Fresh};

mod devices;
mod sessions;

/// What was written before that has reached the replicas.
const REPLICATED_WITHIN: Duration = Duration::from_secs(60);

/// What an observer outside knows of one session.
#[derive(Default)]
struct Known {
    expires: Timestamp,
    /// For each generation: when its token was first consumed.
    consumed: HashMap<u64, Timestamp>,
    ended: bool,
}

/// What an observer outside knows of one device.
#[derive(Default)]
struct Seen {
    user_agent: Option<u8>,
    trusted_until: Timestamp,
}

pub(super) struct World {
    policy: RealmPolicy,
    now: Timestamp,
    record: Option<SubjectRecord>,
    before_last_write: Option<SubjectRecord>,
    last_write: Timestamp,
    /// What the index of an instance knows.
    revocations: Vec<RevocationEntry>,
    /// A write was lost since: what was acknowledged then may have gone with it.
    lossy: bool,
    drawn: u64,
    tokens: Vec<RefreshToken>,
    known: HashMap<SessionId, Known>,
    revoked: Vec<SessionId>,
    devices: HashMap<u8, Seen>,
    /// What a watcher was told so far.
    watched: Vec<LiveSession>,
    looked: Vec<LiveSession>,
}

impl World {
    pub(super) fn new(policy: RealmPolicy) -> Self {
        Self {
            policy,
            now: Timestamp::from_seconds(1_800_000_000),
            record: None,
            before_last_write: None,
            last_write: Timestamp::ZERO,
            revocations: Vec::new(),
            lossy: false,
            drawn: 0,
            tokens: Vec::new(),
            known: HashMap::new(),
            revoked: Vec::new(),
            devices: HashMap::new(),
            watched: Vec::new(),
            looked: Vec::new(),
        }
    }

    fn decide<A>(
        &mut self,
        transition: impl Fn(Option<&SubjectRecord>, &Context<'_>) -> Decision<A>,
    ) -> (Result<A, Refusal>, Vec<Fact>) {
        self.drawn += 1;
        let mut fresh = [0; 16];
        fresh[..8].copy_from_slice(&self.drawn.to_be_bytes());
        let context = Context {
            now: self.now,
            policy: &self.policy,
            place: Place { pepper_id: 1, subject: SubjectKey([7; 16]) },
            cut_off: &[],
            key: KeyNumber(1),
            fresh: Fresh { session: fresh, secret: fresh, token: fresh },
        };
        let decision = transition(self.record.as_ref(), &context);
        self.check_facts(&decision.facts);
        if let Some(record) = decision.record {
            self.before_last_write = self.record.replace(record);
            self.last_write = self.now;
            self.revocations.extend(decision.facts.iter().filter_map(|fact| fact.revocation(SubjectKey([7; 16]))));
        }
        (decision.answer, decision.facts)
    }

    /// Whoever applies what a watcher is told to what it knew has what there is now.
    fn look(&mut self) {
        let live = live_sessions(self.record.as_ref(), self.now, |_| false);
        let mut told = HashSet::new();
        for change in changes(&self.looked, &live, self.last_write, self.now) {
            let id = change.session.session.id;
            assert!(told.insert(id), "one change of each session");
            let known = self.watched.iter().position(|known| known.session.id == id);
            assert_eq!(known.is_none(), change.kind == ChangeKind::Opened, "{change:?}");
            assert!(change.time <= self.now, "{change:?}");
            match (change.kind, known) {
                (ChangeKind::Opened, _) => self.watched.insert(0, change.session),
                (ChangeKind::Ended, Some(known)) => drop(self.watched.remove(known)),
                (_, Some(known)) => self.watched[known] = change.session,
                (_, None) => unreachable!(),
            }
        }
        assert!(self.lossy || self.watched == live, "{:?}\nis not\n{live:?}", self.watched);
        self.looked = live;
    }

    pub(super) fn run(&mut self, step: &Step) {
        match step {
            Step::Login { device, user_agent, remember } => self.login(*device, *user_agent, *remember),
            Step::Look => self.look(),
            Step::Trust { device } => self.trust(*device),
            Step::Forget { device } => self.forget(*device),
            Step::Refresh { which } if !self.tokens.is_empty() => {
                let token = which.get(&self.tokens).clone();
                self.present(&token);
            }
            Step::Revoke { which } if !self.tokens.is_empty() => {
                let id = which.get(&self.tokens).session.session;
                let (answer, _) = self.decide(|record, context| end_session(record, id, context));
                assert_eq!(answer, Ok(()));
                self.acknowledge(&[id]);
            }
            Step::RevokeAll => {
                let all: Vec<_> = self.record.iter().flat_map(|record| record.sessions.iter().map(|s| s.id)).collect();
                let (answer, _) = self.decide(|record, context| end_all(record, None, context));
                assert!(answer.is_ok());
                self.acknowledge(&all);
            }
            Step::Touch { which } if !self.tokens.is_empty() => self.touch(which.get(&self.tokens).session.session),
            Step::Pass { millis } => self.now = self.now + Duration::from_millis(*millis),
            Step::LoseLastWrite { outage } => {
                let recent = self.now.since(self.last_write) < REPLICATED_WITHIN;
                if let Some(earlier) = self.before_last_write.take().filter(|_| recent) {
                    self.record = Some(earlier);
                    self.lossy = true;
                    let now = self.now;
                    self.revocations.retain(|entry| now < entry.until);
                    let lost = self.revocations.clone();
                    self.now = self.now + Duration::from_millis(*outage);
                    let (answer, _) = self.decide(|record, context| put_back(record, &lost, context));
                    assert_eq!(answer, Ok(()));
                }
            }
            Step::Refresh { .. } | Step::Revoke { .. } | Step::Touch { .. } => {}
        }
        self.check_devices();
    }

    fn acknowledge(&mut self, ended: &[SessionId]) {
        self.revoked.extend(ended);
    }
}
