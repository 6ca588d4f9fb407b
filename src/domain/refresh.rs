//! Continuing a session with its refresh token (RFC 6749, section 6; RFC 9700, section 4.14).

use super::fact::{EndReason, Fact};
use super::ids::{Audience, ClientId, Scope, Subject};
use super::policy::{LateRecovery, RACE_WINDOW, RealmPolicy, Rotation};
use super::rate_limit::Limit;
use super::refusal::Refusal;
use super::session::{Device, Session};
use super::subject::{SubjectRecord, expiry};
use super::time::Timestamp;
use super::token::{Confirmation, RefreshToken};
use super::transition::{Context, Decision, Grant};

/// What is presented and asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Refresh {
    /// The refresh token, opened.
    pub token: RefreshToken,
    /// The client that presents it, where the caller says so.
    pub client: Option<ClientId>,
    /// The key whose possession was proven.
    pub confirmation: Option<Confirmation>,
    /// A narrower scope for the access token; empty: the session's.
    pub scope: Vec<Scope>,
    /// A narrower audience for the access token; empty: the session's.
    pub audience: Vec<Audience>,
    /// What the client says of its device now; `None`: nothing.
    pub device: Option<Device>,
    /// When it arrived: what waited for a slow store is not late by that.
    pub arrived: Timestamp,
}

/// What the presented generation means beside the record's.
enum Standing {
    Current,
    /// The immediate predecessor, its successor not used yet.
    Repeated,
    /// The immediate predecessor, no longer answered, but maybe under way together with its successor.
    Raced,
    /// The immediate predecessor, too late, from a holder who proved the session's key.
    Recovered,
    Replayed,
    /// Only this authority can have made it: the store lost its last write.
    Ahead,
    FarAhead,
}

/// Decides a refresh. Order is by generation alone, never by a time in a token (Keycloak #50999).
pub fn refresh(record: Option<&SubjectRecord>, request: &Refresh, context: &Context<'_>) -> Decision<Grant> {
    let now = context.now(record);
    if now >= request.token.expires {
        return Decision::refuse(Refusal::RefreshTokenExpired);
    }
    let Some(record) = record else { return Decision::refuse(Refusal::SessionEnded) };
    let id = request.token.session.session;
    // A record whose subject was erased has no sessions.
    let (Some(session), Some(subject)) = (record.session(id), &record.subject) else {
        return Decision::refuse(record.refusal_for_absent(id));
    };
    if let Err(refusal) = authenticate(session, request, now) {
        return Decision::refuse(refusal);
    }
    if context.cut_off.contains(&id) {
        return end(record, session, now, EndReason::CutOff, Refusal::SessionEnded, context);
    }
    if let Err(refusal) = narrows(session, request).and_then(|()| sayable(session, context.policy)) {
        return Decision::refuse(refusal);
    }
    match standing(session, request.token.generation, request.arrived, context.policy) {
        Standing::Current | Standing::Recovered => renew(record, session, subject, request, now, context),
        Standing::Ahead => {
            let healed = Session { generation: request.token.generation, ..session.clone() };
            let mut decision = renew(record, &healed, subject, request, now, context);
            let (stored, presented) = (session.generation, request.token.generation);
            if decision.answer.is_ok() {
                decision.facts.insert(0, Fact::HealedForward { session: id, stored, presented });
            }
            decision
        }
        // The token made then says more, or less, than is asked for now.
        Standing::Repeated if !asks_for(session, request) => Decision::refuse(Refusal::RefreshTokenSuperseded),
        Standing::Repeated => Decision {
            answer: Ok(Grant::of(session, subject.clone(), context)),
            record: None,
            facts: vec![Fact::RefreshRepeated(id, session.generation)],
        },
        Standing::Raced => Decision::refuse(Refusal::RefreshTokenSuperseded),
        Standing::Replayed => end(record, session, now, EndReason::Replay, Refusal::RefreshTokenReplayed, context),
        Standing::FarAhead => Decision::refuse(Refusal::SessionEnded),
    }
}

/// Whether the rules would answer this token now, to the right client.
pub fn accepts(session: &Session, token: &RefreshToken, now: Timestamp, policy: &RealmPolicy) -> bool {
    session.secret == token.secret
        && expiry(session, now).is_none()
        && matches!(
            standing(session, token.generation, now, policy),
            Standing::Current | Standing::Repeated | Standing::Recovered | Standing::Ahead
        )
}

/// The token is the session's, presented by whom it was issued to, in time.
fn authenticate(session: &Session, request: &Refresh, now: Timestamp) -> Result<(), Refusal> {
    if session.secret != request.token.secret {
        return Err(Refusal::RefreshTokenInvalid);
    }
    if request.client.as_ref().is_some_and(|client| *client != session.client) {
        return Err(Refusal::ClientMismatch);
    }
    if session.confirmation.is_some() && session.confirmation != request.confirmation {
        return Err(Refusal::ConfirmationMismatch);
    }
    match expiry(session, now) {
        Some(EndReason::Idle) => Err(Refusal::SessionIdle),
        Some(_) => Err(Refusal::RefreshTokenExpired),
        None => Ok(()),
    }
}

fn standing(session: &Session, presented: u64, arrived: Timestamp, policy: &RealmPolicy) -> Standing {
    let current = session.generation;
    if presented == current {
        return Standing::Current;
    }
    if presented > current {
        return if presented == current + 1 { Standing::Ahead } else { Standing::FarAhead };
    }
    let since_successor = arrived.since(session.refreshed);
    let leeway = policy.reuse_leeway;
    if presented + 1 < current {
        Standing::Replayed
    } else if !leeway.is_zero() && since_successor <= leeway {
        Standing::Repeated
    } else if since_successor <= RACE_WINDOW {
        Standing::Raced
    } else if policy.late_recovery == LateRecovery::WithBoundKey && session.confirmation.is_some() {
        Standing::Recovered
    } else {
        Standing::Replayed
    }
}

/// One access token may have less than its session; no token ever has more (RFC 6749, section 6).
fn narrows(session: &Session, request: &Refresh) -> Result<(), Refusal> {
    if let Some(scope) = request.scope.iter().find(|scope| !session.scope.contains(scope)) {
        return Err(Refusal::ScopeNotGranted(scope.clone()));
    }
    match request.audience.iter().find(|audience| !session.audience.contains(audience)) {
        Some(audience) => Err(Refusal::AudienceNotAllowed(audience.clone())),
        None => Ok(()),
    }
}

/// Whether tokens of the realm can still say what the session is: its profile may be newer.
fn sayable(session: &Session, policy: &RealmPolicy) -> Result<(), Refusal> {
    policy.profile.check(&session.client, &session.audience, &session.scope, session.confirmation.as_ref())
}

/// Whether the newest access token has exactly the scope and audience that are asked for.
fn asks_for(session: &Session, request: &Refresh) -> bool {
    fn same<T: PartialEq>(asked: &[T], whole: &[T], made: Option<&Vec<T>>) -> bool {
        let asked = if asked.is_empty() { whole } else { asked };
        let made = made.map_or(whole, Vec::as_slice);
        asked.len() == made.len() && asked.iter().all(|one| made.contains(one))
    }
    same(&request.scope, &session.scope, session.access.scope.as_ref())
        && same(&request.audience, &session.audience, session.access.audience.as_ref())
}

/// The next generation, with a new access token.
fn renew(
    record: &SubjectRecord,
    session: &Session,
    subject: &Subject,
    request: &Refresh,
    now: Timestamp,
    context: &Context<'_>,
) -> Decision<Grant> {
    let mut facts = Vec::new();
    let mut record = record.clone();
    // Here and not before: whatever the limit, a replay ends its session, and a lost answer is given again.
    if let Some(limit) = context.policy.rate_limits.refresh_by_subject {
        match limit.take_of(Limit::RefreshBySubject, record.rates.refreshes, now) {
            Ok(used) => record.rates.refreshes = used,
            Err(limited) => return Decision::refuse(limited.into()),
        }
    }
    record.advance(now, context.cut_off, &mut facts);
    let (id, reported) = (session.device.id.as_ref(), request.device.as_ref());
    let trust = match record.use_device(id, reported, context.policy, &mut facts) {
        Ok(trust) => trust,
        // The token stays good for when the device is trusted.
        Err(refusal) => return Decision { answer: Err(refusal), record: Some(record), facts },
    };
    let mut renewed = session.clone();
    if let Some(reported) = reported {
        renewed.device = Device { id: session.device.id.clone(), ..reported.clone() };
    }
    if context.policy.rotation == Rotation::EachUse {
        renewed.generation += 1;
    }
    renewed.refreshed = now;
    renewed.touch(now, context.policy);
    let narrowed = |asked: &[_]| (!asked.is_empty()).then(|| asked.to_vec());
    let audience = (!request.audience.is_empty()).then(|| request.audience.clone());
    if let Some(claims) = renewed.next_claims.take() {
        renewed.claims = claims;
    }
    renewed.stamp(context.stamp(now, trust, renewed.ends(), renewed.access_epoch, narrowed(&request.scope), audience));

    facts.push(Fact::Refreshed(renewed.id, renewed.generation));
    let grant = Grant::of(&renewed, subject.clone(), context);
    if let Some(place) = record.session_mut(renewed.id) {
        *place = renewed;
    }
    Decision { answer: Ok(grant), record: Some(record), facts }
}

/// Ends this session and no other.
fn end(
    record: &SubjectRecord,
    session: &Session,
    now: Timestamp,
    reason: EndReason,
    refusal: Refusal,
    context: &Context<'_>,
) -> Decision<Grant> {
    let mut facts = Vec::new();
    let mut record = record.clone();
    record.advance(now, context.cut_off, &mut facts);
    record.end_where(&mut facts, |other| (other.id == session.id).then_some(reason));
    Decision { answer: Err(refusal), record: Some(record), facts }
}
