//! Sessions: opened, continued by any token ever given out, used.

use std::time::Duration;

use super::super::{UNTRUSTED_ACCESS, UNTRUSTED_SESSION, policy};
use super::devices::device_id;
use super::{Known, World};
use crate::domain::claims::Claims;
use crate::domain::device::{OnChange, Trust};
use crate::domain::fact::{EndReason, Fact};
use crate::domain::ids::{Audience, ClientId, SessionId, Subject, SubjectKey};
use crate::domain::open_session::{Login, open_session};
use crate::domain::policy::{AtLimit, Lifetime};
use crate::domain::refresh::{Refresh, refresh};
use crate::domain::refusal::Refusal;
use crate::domain::session::Device;
use crate::domain::token::RefreshToken;
use crate::domain::touch::touch;
use crate::domain::transition::{Continuation, Grant};

impl World {
    pub(super) fn check_facts(&mut self, facts: &[Fact]) {
        for fact in facts {
            if let Fact::SessionEnded { session, reason, .. } = fact {
                self.known.entry(*session).or_default().ended = true;
                let entry = fact.revocation(SubjectKey([7; 16]));
                let by_time = matches!(reason, EndReason::Expired | EndReason::Idle);
                assert_eq!(entry.is_none(), by_time, "an ended session has its revocation: {fact:?}");
            }
        }
    }

    pub(super) fn check_grant(&mut self, grant: &Grant) {
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

    pub(super) fn login(&mut self, device: u8, user_agent: u8, remember: bool) {
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

    pub(super) fn present(&mut self, token: &RefreshToken) {
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

    pub(super) fn touch(&mut self, id: SessionId) {
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
