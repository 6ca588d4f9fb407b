//! Trusting a device of a subject, and forgetting it with everything that runs on it.

use super::end_session::change;
use super::fact::{EndReason, Fact};
use super::ids::DeviceId;
use super::refusal::Refusal;
use super::subject::SubjectRecord;
use super::time::Timestamp;
use super::transition::{Context, Decision};

/// Trusts a device from now on, for as long as the realm says. Answers until when.
pub fn trust_device(record: Option<&SubjectRecord>, id: &DeviceId, context: &Context<'_>) -> Decision<Timestamp> {
    let Some(record) = record else { return Decision::refuse(Refusal::UnknownDevice) };
    let mut answer = Err(Refusal::UnknownDevice);
    let decision = change(record, context, |record, facts, now| {
        let Some(known) = record.device_mut(id) else { return };
        known.trusted_until = now + context.policy.devices.trust_lifetime;
        facts.push(Fact::DeviceTrusted(id.clone(), known.trusted_until));
        answer = Ok(known.trusted_until);
    });
    match answer {
        Ok(until) => Decision { answer: Ok(until), record: decision.record, facts: decision.facts },
        Err(refusal) => Decision::refuse(refusal),
    }
}

/// Forgets a device and ends its sessions, also those of one that was forgotten before. Idempotent. Answers how
/// many sessions it ended.
pub fn forget_device(record: Option<&SubjectRecord>, id: &DeviceId, context: &Context<'_>) -> Decision<usize> {
    let runs = |record: &SubjectRecord| record.sessions.iter().any(|session| session.device.id.as_ref() == Some(id));
    let Some(record) = record.filter(|record| record.device(id).is_some() || runs(record)) else {
        return Decision::answer(0);
    };
    let mut ended = 0;
    let decision = change(record, context, |record, facts, _| {
        let before = record.sessions.len();
        record
            .end_where(facts, |session| (session.device.id.as_ref() == Some(id)).then_some(EndReason::DeviceForgotten));
        ended = before - record.sessions.len();
        record.devices.retain(|known| !known.is(id));
        facts.push(Fact::DeviceForgotten(id.clone()));
    });
    Decision { answer: Ok(ended), record: decision.record, facts: decision.facts }
}
