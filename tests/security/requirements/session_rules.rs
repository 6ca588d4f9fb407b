//! The rules of one realm on one subject, at a time that the test sets: no store and no clock.

use std::time::Duration;

use token_authority::domain::claims::Claims;
use token_authority::domain::ids::{Audience, ClientId, KeyNumber, Scope, Subject, SubjectKey};
use token_authority::domain::open_session::{Login, issue_sessionless, open_session};
use token_authority::domain::policy::{Lifetime, RealmPolicy};
use token_authority::domain::refresh::{Refresh, refresh};
use token_authority::domain::refusal::Refusal;
use token_authority::domain::session::{Device, Place};
use token_authority::domain::subject::SubjectRecord;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::RefreshToken;
use token_authority::domain::transition::{Context, Decision, Fresh, Grant};

use crate::forge::realm;

pub(super) struct SessionRules {
    pub(super) policy: RealmPolicy,
    pub(super) now: Timestamp,
    record: Option<SubjectRecord>,
    drawn: u8,
}

impl SessionRules {
    pub(super) fn new(now: Timestamp) -> Self {
        let audience = Audience::parse("api").unwrap();
        Self { policy: RealmPolicy::permissive(realm("web"), audience, None), now, record: None, drawn: 0 }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub(super) fn login(&mut self, login: &Login) -> Result<Grant, Refusal> {
        self.decide(|record, context| open_session(record, login, context))
    }

    pub(super) fn issue_sessionless(&mut self, login: &Login) -> Result<Grant, Refusal> {
        self.decide(|record, context| issue_sessionless(record, login, context))
    }

    pub(super) fn refresh(&mut self, token: &RefreshToken) -> Result<Grant, Refusal> {
        let request = Refresh {
            token: token.clone(),
            client: None,
            confirmation: None,
            scope: Vec::new(),
            audience: Vec::new(),
            device: None,
            arrived: self.now,
        };
        self.decide(|record, context| refresh(record, &request, context))
    }

    fn decide(
        &mut self,
        transition: impl Fn(Option<&SubjectRecord>, &Context<'_>) -> Decision<Grant>,
    ) -> Result<Grant, Refusal> {
        self.drawn += 1;
        let fresh = [self.drawn; 16];
        let context = Context {
            now: self.now,
            policy: &self.policy,
            place: Place { pepper_id: 1, subject: SubjectKey([7; 16]) },
            cut_off: &[],
            key: KeyNumber(1),
            fresh: Fresh { session: fresh, secret: fresh, token: fresh },
        };
        let decision = transition(self.record.as_ref(), &context);
        if decision.record.is_some() {
            self.record = decision.record;
        }
        decision.answer
    }
}

pub(super) fn login(audience: &[&str], scope: &[&str]) -> Login {
    Login {
        subject: Subject::parse("ann").unwrap(),
        client: ClientId::parse("app").unwrap(),
        audience: audience.iter().map(|name| Audience::parse(name).unwrap()).collect(),
        scope: scope.iter().map(|name| Scope::parse(name).unwrap()).collect(),
        claims: Claims::default(),
        device: Device::default(),
        lifetime: Lifetime::Standard,
        confirmation: None,
        request_id: None,
    }
}
