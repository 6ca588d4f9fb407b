//! Property tests: random histories of several devices, with lost answers, stolen tokens, passing
//! time and a store that loses its last write, checked against what must hold after every run.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::claims::Claims;
use super::device::{DevicePolicy, OnChange, Trust};
use super::end_session::{end_all, end_session};
use super::fact::{EndReason, Fact};
use super::ids::{Audience, ClientId, DeviceId, KeyNumber, RealmName, SessionId, Subject, SubjectKey};
use super::open_session::{Login, open_session};
use super::policy::{AtLimit, Lifetime, RealmPolicy};
use super::put_back::put_back;
use super::refresh::{Refresh, refresh};
use super::refusal::Refusal;
use super::revocation::RevocationEntry;
use super::session::{Device, Place};
use super::subject::SubjectRecord;
use super::time::Timestamp;
use super::token::RefreshToken;
use super::touch::touch;
use super::transition::{Context, Continuation, Decision, Fresh, Grant};
use super::trust_device::{forget_device, trust_device};

#[derive(Debug, Clone)]
enum Step {
    Login {
        device: u8,
        /// Tells one state of the device from another.
        user_agent: u8,
        remember: bool,
    },
    Trust {
        device: u8,
    },
    Forget {
        device: u8,
    },
    /// Presents any refresh token ever given out: the newest, a lost one, a stolen one.
    Refresh {
        which: prop::sample::Index,
    },
    Revoke {
        which: prop::sample::Index,
    },
    RevokeAll,
    /// A resource server checks a token of any session ever.
    Touch {
        which: prop::sample::Index,
    },
    Pass {
        millis: u64,
    },
    /// The store forgets its last write, as a failover without replication does; what its log lost is
    /// put back once the store is there again.
    LoseLastWrite {
        outage: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..4, prop_oneof![4 => Just(0u8), 1 => Just(1)], any::<bool>())
            .prop_map(|(device, user_agent, remember)| Step::Login { device, user_agent, remember }),
        1 => (0u8..4).prop_map(|device| Step::Trust { device }),
        1 => (0u8..4).prop_map(|device| Step::Forget { device }),
        10 => any::<prop::sample::Index>().prop_map(|which| Step::Refresh { which }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Revoke { which }),
        1 => Just(Step::RevokeAll),
        3 => any::<prop::sample::Index>().prop_map(|which| Step::Touch { which }),
        4 => prop_oneof![1u64..3_000, 3_000u64..20_000, 60_000u64..2_000_000].prop_map(|millis| Step::Pass { millis }),
        1 => (0u64..2_000_000).prop_map(|outage| Step::LoseLastWrite { outage }),
    ]
}

const TRUST: Duration = Duration::from_secs(3_600);
const UNTRUSTED_ACCESS: Duration = Duration::from_secs(300);
const UNTRUSTED_SESSION: Duration = Duration::from_secs(3_000);

fn policy(leeway: u64, at_limit: AtLimit, on_change: OnChange) -> RealmPolicy {
    let mut policy = RealmPolicy::permissive(
        RealmName::parse("default").expect("a realm"),
        Audience::parse("default").expect("an audience"),
        None,
    );
    policy.reuse_leeway = Duration::from_secs(leeway);
    policy.idle_timeout = Some(Duration::from_secs(1_800));
    policy.session_lifetime = Duration::from_secs(7_200);
    policy.remember_me_lifetime = Duration::from_secs(14_400);
    policy.max_sessions = 3;
    policy.at_limit = at_limit;
    policy.devices = DevicePolicy {
        trust_lifetime: TRUST,
        on_change,
        untrusted_access_lifetime: Some(UNTRUSTED_ACCESS),
        untrusted_session_lifetime: Some(UNTRUSTED_SESSION),
        ..DevicePolicy::default()
    };
    policy
}

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

struct World {
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
}

impl World {
    fn new(policy: RealmPolicy) -> Self {
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

    fn check_facts(&mut self, facts: &[Fact]) {
        for fact in facts {
            if let Fact::SessionEnded { session, reason, .. } = fact {
                self.known.entry(*session).or_default().ended = true;
                let entry = fact.revocation(SubjectKey([7; 16]));
                let by_time = matches!(reason, EndReason::Expired | EndReason::Idle);
                assert_eq!(entry.is_none(), by_time, "an ended session has its revocation: {fact:?}");
            }
        }
    }

    fn check_grant(&mut self, grant: &Grant) {
        let Continuation { token, expires: refresh_expires, .. } = grant.refresh.clone().expect("a refresh token");
        let id = token.session.session;
        let session = self.record.as_ref().and_then(|record| record.session(id)).expect("the session").clone();
        assert!(session.idle_expires <= session.expires);
        assert!(grant.access.expires <= session.ends(), "an access token outlives its session");
        assert!(grant.access.expires <= session.access_until);
        let trust = self.record.as_ref().map(|record| record.trust(&session.device, self.now));
        if trust == Some(Trust::Untrusted) && session.access.issued == self.now {
            assert!(grant.access.expires <= self.now + UNTRUSTED_ACCESS, "an untrusted device's token lives too long");
            let opened = session.created == self.now;
            assert!(!opened || session.expires == self.now + UNTRUSTED_SESSION, "and so does its session");
        }
        assert_eq!(refresh_expires, session.ends());
        let known = self.known.entry(id).or_insert_with(|| Known { expires: session.expires, ..Known::default() });
        assert_eq!(known.expires, session.expires, "the absolute expiry moved");
        assert!(!self.revoked.contains(&id), "an acknowledged revocation was undone");
        self.tokens.push(token);
    }

    fn login(&mut self, device: u8, user_agent: u8, remember: bool) {
        let login = Login {
            subject: Subject::parse("ann").expect("a subject"),
            client: ClientId::parse("app").expect("a client"),
            audience: vec![Audience::parse("default").expect("an audience")],
            scope: Vec::new(),
            claims: Claims::default(),
            device: Device { id: Some(device_id(device)), user_agent: user_agent.to_string(), ..Device::default() },
            lifetime: if remember { Lifetime::Remembered } else { Lifetime::Standard },
            confirmation: None,
            request_id: None,
        };
        let (answer, facts) = self.decide(|record, context| open_session(record, &login, context));
        if answer != Err(Refusal::SessionLimitReached) {
            self.note_use(device, user_agent, &facts, answer.as_ref().err());
        }
        if let Ok(grant) = answer {
            self.check_grant(&grant);
        }
        let live = self.record.as_ref().map_or(0, |record| record.live(self.now).count());
        assert!(live <= self.policy.max_sessions, "{live} sessions");
    }

    fn note_use(&mut self, device: u8, user_agent: u8, facts: &[Fact], refusal: Option<&Refusal>) {
        let seen = self.devices.entry(device).or_default();
        let changed = seen.user_agent.is_some_and(|known| known != user_agent);
        let noticed = facts.contains(&Fact::DeviceChanged(device_id(device)));
        assert!(self.lossy || noticed == changed, "changed: {changed}, noticed: {noticed}");
        if changed && self.policy.devices.on_change == OnChange::Refuse {
            assert!(self.lossy || refusal == Some(&Refusal::DeviceNotTrusted));
            return;
        }
        seen.user_agent = Some(user_agent);
        if changed && self.policy.devices.on_change == OnChange::Untrust {
            seen.trusted_until = Timestamp::ZERO;
        }
    }

    fn trust(&mut self, device: u8) {
        let id = device_id(device);
        let (answer, _) = self.decide(|record, context| trust_device(record, &id, context));
        let known = self.devices.get_mut(&device).filter(|seen| seen.user_agent.is_some());
        assert!(self.lossy || answer.is_ok() == known.is_some(), "only a device that was used is trusted");
        if let (Ok(until), Some(seen)) = (answer, known) {
            assert_eq!(until, self.now + TRUST);
            seen.trusted_until = until;
        }
    }

    fn forget(&mut self, device: u8) {
        let id = device_id(device);
        let of_it: Vec<_> = self
            .record
            .iter()
            .flat_map(|record| &record.sessions)
            .filter(|session| session.device.id.as_ref() == Some(&id))
            .map(|session| session.id)
            .collect();
        let (answer, _) = self.decide(|record, context| forget_device(record, &id, context));
        assert!(answer.is_ok_and(|ended| ended <= of_it.len()));
        let record = self.record.as_ref();
        assert!(record.is_none_or(|record| record.device(&id).is_none()), "a forgotten device is known");
        assert!(of_it.iter().all(|id| record.is_none_or(|record| record.session(*id).is_none())), "its session lives");
        self.acknowledge(&of_it);
        self.devices.remove(&device);
    }

    /// What the record says of trust is what was done to the devices, unless the store lost some of it.
    fn check_devices(&self) {
        for (device, seen) in self.devices.iter().filter(|_| !self.lossy) {
            let told = Device { id: Some(device_id(*device)), ..Device::default() };
            let trust = self.record.as_ref().map_or(Trust::Untrusted, |record| record.trust(&told, self.now));
            assert_eq!(trust == Trust::Trusted, self.now < seen.trusted_until, "device {device}");
        }
    }

    fn present(&mut self, token: &RefreshToken) {
        let id = token.session.session;
        let stored = self.record.as_ref().and_then(|record| record.session(id)).map(|session| session.generation);
        let request = Refresh {
            token: token.clone(),
            client: None,
            confirmation: None,
            scope: Vec::new(),
            audience: Vec::new(),
            device: None,
            arrived: self.now,
        };
        let (answer, facts) = self.decide(|record, context| refresh(record, &request, context));
        let first = self.known.entry(id).or_default().consumed.get(&token.generation).copied();
        match answer {
            Ok(grant) => {
                let successor = grant.refresh.clone().expect("a refresh token").token;
                assert_eq!(successor.generation, token.generation + 1, "two successors of one generation");
                assert!(self.lossy || !self.known[&id].ended, "an ended session was continued");
                if let (Some(first), false) = (first, self.lossy) {
                    let leeway = self.policy.reuse_leeway;
                    assert!(self.now.since(first) <= leeway, "a consumed token was answered outside the leeway");
                    assert!(!self.known[&id].consumed.contains_key(&successor.generation), "leeway still open");
                }
                self.known.entry(id).or_default().consumed.entry(token.generation).or_insert(self.now);
                self.check_grant(&grant);
            }
            Err(_) => {
                let replayed = facts
                    .iter()
                    .any(|fact| matches!(fact, Fact::SessionEnded { session, reason: EndReason::Replay, .. } if *session == id));
                if replayed {
                    assert!(first.is_some(), "a family ended without a real replay");
                    assert!(stored.is_some_and(|stored| token.generation < stored));
                }
                let others = facts.iter().any(
                    |fact| matches!(fact, Fact::SessionEnded { session, reason: EndReason::Replay, .. } if *session != id),
                );
                assert!(!others, "a replay ended another family");
            }
        }
    }

    fn touch(&mut self, id: SessionId) {
        let standing = |world: &Self| {
            let record = world.record.as_ref();
            record.and_then(|record| record.live(world.now).find(|session| session.id == id)).cloned()
        };
        let before = standing(self);
        let seen = self.now;
        let (answer, _) = self.decide(|record, context| touch(record, id, seen, context));
        assert_eq!(answer, Ok(()));
        match (before, standing(self)) {
            (None, None) => {}
            (Some(before), Some(after)) => {
                assert!(before.idle_expires <= after.idle_expires && after.idle_expires <= after.expires);
                assert_eq!((before.access, before.generation), (after.access, after.generation));
            }
            (before, after) => panic!("a touch ended or revived a session: {before:?}, {after:?}"),
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Login { device, user_agent, remember } => self.login(*device, *user_agent, *remember),
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

fn device_id(device: u8) -> DeviceId {
    DeviceId::parse(&device.to_string()).expect("an id")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_every_history(
        steps in prop::collection::vec(step(), 1..60),
        leeway in prop_oneof![Just(0u64), Just(10)],
        at_limit in prop_oneof![Just(AtLimit::Refuse), Just(AtLimit::EvictOldest), Just(AtLimit::EvictIdlest)],
        on_change in prop_oneof![Just(OnChange::Note), Just(OnChange::Untrust), Just(OnChange::Refuse)],
    ) {
        let mut world = World::new(policy(leeway, at_limit, on_change));
        for step in &steps {
            world.run(step);
        }
    }
}

#[test]
fn a_session_in_use_is_written_once_a_minute() {
    let mut world = World::new(policy(10, AtLimit::Refuse, OnChange::Note));
    world.login(0, 0, false);
    let id = world.tokens[0].session.session;
    for (seconds, touched) in [(0, false), (59, false), (1, true), (0, false), (59, false), (1, true)] {
        world.now = world.now + Duration::from_secs(seconds);
        let seen = world.now;
        let (_, facts) = world.decide(|record, context| touch(record, id, seen, context));
        assert_eq!(facts, if touched { vec![Fact::Touched(id)] } else { Vec::new() });
    }
}
