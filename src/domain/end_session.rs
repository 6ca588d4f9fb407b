//! Logging out: one session, all of a subject's, or one token that has no session. All idempotent.

use super::fact::{ENTRY_SLACK, EndReason, Fact};
use super::ids::SessionId;
use super::policy::MAX_ACCESS_LIFETIME;
use super::session::Session;
use super::subject::SubjectRecord;
use super::time::Timestamp;
use super::transition::{Context, Decision};

/// Ends a session with everything it had. A session that is not there has ended already.
pub fn end_session(record: Option<&SubjectRecord>, id: SessionId, context: &Context<'_>) -> Decision<()> {
    match record {
        Some(record) if record.session(id).is_some() => change(record, context, |record, facts, _| {
            record.end_where(facts, |session| (session.id == id).then_some(EndReason::Revoked));
        }),
        _ => Decision::answer(()),
    }
}

/// Ends all sessions of a subject but `except`, and its sessionless tokens. Answers how many
/// sessions it ended.
pub fn end_all(record: Option<&SubjectRecord>, except: Option<SessionId>, context: &Context<'_>) -> Decision<usize> {
    let new = SubjectRecord::new(context.now);
    let mut ended = 0;
    let decision = change(record.unwrap_or(&new), context, |record, facts, now| {
        let ends = |session: &Session| (Some(session.id) != except).then_some(EndReason::Revoked);
        let before = record.sessions.len();
        record.end_where(facts, ends);
        ended = before - record.sessions.len();
        let access_until = now + MAX_ACCESS_LIFETIME;
        record.raise_epoch(now);
        record.keep_until = record.keep_until.max(access_until + ENTRY_SLACK);
        facts.push(Fact::EpochRaised { epoch: record.epoch, access_until });
    });
    Decision { answer: Ok(ended), record: decision.record, facts: decision.facts }
}

/// Forgets everything about a subject and ends all its tokens. What stays is the epoch, without a
/// name, until the last token that it ends has expired. Answers how many sessions it ended.
pub fn erase(record: Option<&SubjectRecord>, context: &Context<'_>) -> Decision<usize> {
    let Decision { answer, record, mut facts } = end_all(record, None, context);
    let record = record.map(|record| SubjectRecord {
        epoch: record.epoch,
        ended_below: record.ended_below,
        keep_until: record.keep_until,
        changed: record.changed,
        ..SubjectRecord::new(record.changed)
    });
    facts.push(Fact::SubjectErased);
    Decision { answer, record, facts }
}

/// Ends one token that has no session.
pub fn revoke_token(
    record: Option<&SubjectRecord>,
    random: [u8; 16],
    expires: Timestamp,
    context: &Context<'_>,
) -> Decision<()> {
    let new = SubjectRecord::new(context.now);
    change(record.unwrap_or(&new), context, |record, facts, _| {
        record.keep_until = record.keep_until.max(expires + ENTRY_SLACK);
        facts.push(Fact::TokenRevoked { random, expires });
    })
}

pub(super) fn change(
    record: &SubjectRecord,
    context: &Context<'_>,
    apply: impl FnOnce(&mut SubjectRecord, &mut Vec<Fact>, Timestamp),
) -> Decision<()> {
    let now = context.now(Some(record));
    let mut record = record.clone();
    let mut facts = Vec::new();
    record.advance(now, context.cut_off, &mut facts);
    apply(&mut record, &mut facts, now);
    Decision { answer: Ok(()), record: Some(record), facts }
}
