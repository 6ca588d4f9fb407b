//! Activity beside a refresh: a session's token was used, so its idle expiry slides. The token itself
//! keeps its `exp`; what was gained counts at the next refresh.

use std::time::Duration;

use super::end_session::change;
use super::fact::Fact;
use super::ids::SessionId;
use super::subject::SubjectRecord;
use super::time::Timestamp;
use super::transition::{Context, Decision};

/// The most often that a session's activity is written down.
const INTERVAL: Duration = Duration::from_secs(60);
/// Of a shorter idle timeout, so that a session in use never ends before nine tenths of it.
const PART_OF_TIMEOUT: u32 = 10;

/// For how long after some activity of a session more of it says nothing new.
pub fn touch_interval(idle_timeout: Duration) -> Duration {
    INTERVAL.min(idle_timeout / PART_OF_TIMEOUT)
}

/// Slides the idle expiry of a session whose token was seen active. A session that has ended stays so,
/// also if it lived when the token was seen: others were told meanwhile.
pub fn touch(record: Option<&SubjectRecord>, id: SessionId, seen: Timestamp, context: &Context<'_>) -> Decision<()> {
    let now = context.now(record);
    let seen = seen.min(now);
    let gains = |record: &SubjectRecord| {
        let session = record.live(now).find(|session| session.id == id)?;
        let gained = context.policy.idle_expiry(seen, session.expires).since(session.idle_expires);
        Some(gained >= touch_interval(context.policy.idle_timeout?))
    };
    let Some(record) = record.filter(|record| gains(record).unwrap_or(false)) else {
        return Decision::answer(());
    };
    change(record, context, |record, facts, _| {
        // It may have been cut off.
        let Some(session) = record.session_mut(id) else { return };
        session.touch(seen, context.policy);
        facts.push(Fact::Touched(id));
    })
}
