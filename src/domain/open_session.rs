//! Logging in: opens a session, or issues a token that has none.

use super::claims::Claims;
use super::device::Trust;
use super::fact::{EndReason, Fact};
use super::ids::{Audience, ClientId, Route, Scope, SessionId, Subject, TokenId};
use super::policy::{AtLimit, Lifetime, RealmPolicy};
use super::rate_limit::Limit;
use super::refusal::Refusal;
use super::session::{Device, Session};
use super::subject::{MAX_REQUESTS, NamedRequest, RequestId, SubjectRecord};
use super::time::Timestamp;
use super::token::{AccessToken, Confirmation, SessionSecret};
use super::transition::{Context, Decision, Grant};

/// What is asked for. The policy's defaults are already filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// Who logged in.
    pub subject: Subject,
    /// Through which client.
    pub client: ClientId,
    /// What the tokens are for: at least one.
    pub audience: Vec<Audience>,
    /// What they may do.
    pub scope: Vec<Scope>,
    /// What they say of the subject.
    pub claims: Claims,
    /// Where.
    pub device: Device,
    /// For how long.
    pub lifetime: Lifetime,
    /// The key to bind the tokens to.
    pub confirmation: Option<Confirmation>,
    /// Answers the same login again, should its answer have been lost.
    pub request_id: Option<RequestId>,
}

/// Opens a session. The limit is decided here, in the same commit as the session, so parallel
/// logins can't exceed it (Keycloak #14689).
pub fn open_session(record: Option<&SubjectRecord>, login: &Login, context: &Context<'_>) -> Decision<Grant> {
    let policy = context.policy;
    if let Err(refusal) = check(login, policy) {
        return Decision::refuse(refusal);
    }
    let now = context.now(record);
    let mut facts = Vec::new();
    let mut record = record.cloned().unwrap_or_else(|| SubjectRecord::new(now));
    record.subject = Some(login.subject.clone());
    record.advance(now, context.cut_off, &mut facts);
    if let Some(answer) = repeated(&record, login, context) {
        return answer;
    }
    if let Some(limit) = policy.rate_limits.issue_by_subject {
        match limit.take_of(Limit::IssueBySubject, record.rates.logins, now) {
            Ok(used) => record.rates.logins = used,
            Err(limited) => return Decision::refuse(limited.into()),
        }
    }
    let trust = match record.use_device(login.device.id.as_ref(), Some(&login.device), policy, &mut facts) {
        Ok(trust) => trust,
        // Committed all the same: whoever asks which devices there are can then trust it.
        Err(refusal) => return Decision { answer: Err(refusal), record: Some(record), facts },
    };
    end_predecessor(&mut record, login, &mut facts);
    let session = new_session(login, trust, context, now);
    if !make_room(&mut record, &session, policy, &mut facts) {
        return Decision::refuse(Refusal::SessionLimitReached);
    }

    let grant = Grant::of(&session, login.subject.clone(), context);
    facts.push(Fact::SessionOpened(session.id));
    if let Some(id) = login.request_id {
        if record.requests.len() == MAX_REQUESTS {
            record.requests.remove(0);
        }
        record.requests.push(NamedRequest { id, session: session.id, time: now });
    }
    record.sessions.push(session);
    Decision { answer: Ok(grant), record: Some(record), facts }
}

fn check(login: &Login, policy: &RealmPolicy) -> Result<(), Refusal> {
    policy.check(&login.audience, &login.scope)?;
    policy.check_claims(&login.claims)?;
    policy.profile.check(&login.client, &login.audience, &login.scope, login.confirmation.as_ref())
}

fn new_session(login: &Login, trust: Trust, context: &Context<'_>, now: Timestamp) -> Session {
    let expires = now + context.policy.session_lifetime(login.lifetime, trust);
    let idle_expires = context.policy.idle_expiry(now, expires);
    let access = context.stamp(now, trust, idle_expires, 0, None, None);
    Session {
        id: SessionId(context.fresh.session),
        secret: SessionSecret::new(context.fresh.secret),
        client: login.client.clone(),
        audience: login.audience.clone(),
        scope: login.scope.clone(),
        claims: login.claims.clone(),
        next_claims: None,
        device: login.device.clone(),
        confirmation: login.confirmation.clone(),
        generation: 1,
        refreshed: now,
        created: now,
        idle_expires,
        expires,
        access_until: access.expires,
        access_epoch: 0,
        access,
    }
}

/// The answer to a login that was asked before under the same request id.
fn repeated(record: &SubjectRecord, login: &Login, context: &Context<'_>) -> Option<Decision<Grant>> {
    let asked = login.request_id?;
    let known = record.requests.iter().find(|known| known.id.name == asked.name)?;
    if known.id.content != asked.content {
        return Some(Decision::refuse(Refusal::RequestIdReused));
    }
    Some(match record.session(known.session) {
        Some(session) => Decision::answer(Grant::of(session, login.subject.clone(), context)),
        None => Decision::refuse(record.refusal_for_absent(known.session)),
    })
}

/// The same client on the same device has one session: whoever logs in again has lost the old one.
fn end_predecessor(record: &mut SubjectRecord, login: &Login, facts: &mut Vec<Fact>) {
    if login.device.id.is_none() {
        return;
    }
    record.end_where(facts, |session| {
        (session.device.id == login.device.id && session.client == login.client).then_some(EndReason::Reauthenticated)
    });
}

/// The limit is a number, and for very large sessions the size of a record.
fn make_room(record: &mut SubjectRecord, new: &Session, policy: &RealmPolicy, facts: &mut Vec<Fact>) -> bool {
    while record.sessions.len() >= policy.max_sessions || !record.fits(Some(new)) {
        let evicted = match policy.at_limit {
            AtLimit::Refuse => None,
            AtLimit::EvictOldest => record.sessions.iter().min_by_key(|session| session.created),
            AtLimit::EvictIdlest => record.sessions.iter().min_by_key(|session| session.refreshed),
        };
        let Some(evicted) = evicted.map(|session| session.id) else { return false };
        record.end_where(facts, |session| (session.id == evicted).then_some(EndReason::Evicted));
    }
    true
}

/// Issues a token without a session: no refresh, nothing to commit, ended by its epoch or its id.
pub fn issue_sessionless(record: Option<&SubjectRecord>, login: &Login, context: &Context<'_>) -> Decision<Grant> {
    let policy = context.policy;
    if let Err(refusal) = check(login, policy) {
        return Decision::refuse(refusal);
    }
    let now = context.now(record);
    let place = context.place;
    // A service has no device; where one is named, it counts as it does for a session.
    let trust = match &login.device.id {
        None => Trust::Trusted,
        Some(_) => record.map_or(Trust::Untrusted, |record| record.trust(&login.device, now)),
    };
    if let Err(refusal) = policy.devices.admit(trust) {
        return Decision::refuse(refusal);
    }
    let access = AccessToken {
        id: TokenId {
            epoch: SubjectRecord::epoch_for_issue(record, now),
            origin: now,
            random: context.fresh.token,
            route: Route::Subject { pepper_id: place.pepper_id, subject: place.subject },
        },
        realm: policy.realm.clone(),
        profile: policy.profile.clone(),
        key: context.key,
        subject: login.subject.clone(),
        client: login.client.clone(),
        audience: login.audience.clone(),
        scope: login.scope.clone(),
        claims: login.claims.clone(),
        confirmation: login.confirmation.clone(),
        actor: None,
        session: None,
        session_client: None,
        issued: now.floor_to_second(),
        expires: now.floor_to_second() + policy.access_lifetime(trust),
    };
    let grant = Grant { access, refresh: None };
    Decision { answer: Ok(grant), record: None, facts: vec![Fact::SessionlessIssued] }
}
