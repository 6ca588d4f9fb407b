//! Changing what a session's tokens say of their subject: from the next refresh on, or at once by
//! ending the access tokens that say otherwise.

use super::claims::Claims;
use super::end_session::change;
use super::fact::Fact;
use super::ids::SessionId;
use super::refusal::Refusal;
use super::subject::SubjectRecord;
use super::transition::{Context, Decision};

/// What becomes of the access tokens that are out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessTokens {
    /// They stay valid until they expire.
    Keep,
    /// They end now; the session lives on, and its next refresh has the new claims.
    End,
}

/// Replaces a session's claims.
pub fn update_claims(
    record: Option<&SubjectRecord>,
    id: SessionId,
    claims: &Claims,
    access_tokens: AccessTokens,
    context: &Context<'_>,
) -> Decision<()> {
    if let Err(refusal) = context.policy.check_claims(claims) {
        return Decision::refuse(refusal);
    }
    let now = context.now(record);
    let Some(record) = record.filter(|record| record.live(now).any(|session| session.id == id)) else {
        return Decision::refuse(record.map_or(Refusal::SessionEnded, |record| record.refusal_for_absent(id)));
    };
    let decision = change(record, context, |record, facts, _| {
        let Some(session) = record.session_mut(id) else { return };
        session.next_claims = Some(claims.clone());
        facts.push(Fact::ClaimsUpdated(id));
        if access_tokens == AccessTokens::End {
            session.access_epoch += 1;
            let (epoch, access_until) = (session.access_epoch, session.access_until);
            facts.push(Fact::AccessEnded { session: id, epoch, access_until });
        }
    });
    if decision.record.as_ref().is_some_and(|record| !record.fits(None)) {
        let problem = "are too large beside those of the subject's other sessions".to_owned();
        return Decision::refuse(Refusal::ClaimNotAllowed { field: "claims".to_owned(), problem });
    }
    decision
}
