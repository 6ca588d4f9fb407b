//! After a failover of the store that lost answered revocations: the record of before ends again what they
//! ended, and the log gets their entries again. An entry alone would not do: it is forgotten when the
//! access tokens that it ends have expired, and the session that came back lives longer.

use super::end_session::change;
use super::fact::{EndReason, Fact};
use super::revocation::{RevocationEntry, RevocationScope};
use super::subject::SubjectRecord;
use super::transition::{Context, Decision};

/// Applies entries of this record's own. What it has not lost stays as it is; entries may come twice.
pub fn put_back(record: Option<&SubjectRecord>, entries: &[RevocationEntry], context: &Context<'_>) -> Decision<()> {
    let new = SubjectRecord::new(context.now);
    change(record.unwrap_or(&new), context, |record, facts, now| {
        for entry in entries {
            end_again(record, &entry.scope, facts);
            // One that was over before the store came back ends no token any more.
            if now < entry.until {
                record.keep_until = record.keep_until.max(entry.until);
                facts.push(Fact::RevocationPutBack(entry.clone()));
            }
        }
    })
}

fn end_again(record: &mut SubjectRecord, scope: &RevocationScope, facts: &mut Vec<Fact>) {
    match scope {
        RevocationScope::Session(id) => {
            record.end_where(facts, |session| (session.id == *id).then_some(EndReason::CutOff));
        }
        // Tokens of a lower epoch would be ended as soon as they are issued.
        RevocationScope::SessionEpoch(id, epoch) => {
            if let Some(session) = record.session_mut(*id) {
                session.access_epoch = session.access_epoch.max(*epoch);
            }
        }
        RevocationScope::SubjectEpoch(_, epoch) => {
            record.epoch = record.epoch.max(*epoch);
            record.ended_below = record.ended_below.max(*epoch);
        }
        // The record does not know them: the entry is all there is.
        RevocationScope::Token(_)
        | RevocationScope::Client(..)
        | RevocationScope::Key(_)
        | RevocationScope::Realm(..) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Audience, KeyNumber, RealmName, SessionId, SubjectKey};
    use crate::domain::policy::RealmPolicy;
    use crate::domain::session::Place;
    use crate::domain::time::Timestamp;
    use crate::domain::transition::Fresh;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// That ended sessions stay ended is shown over random histories.
    #[test]
    fn epochs_are_raised_again_and_never_lowered() {
        let (realm, audience) = (RealmName::parse("web").expect("a realm"), Audience::parse("api").expect("one"));
        let context = Context {
            now: NOW,
            policy: &RealmPolicy::permissive(realm, audience, None),
            place: Place { pepper_id: 1, subject: SubjectKey([7; 16]) },
            cut_off: &[],
            key: KeyNumber(1),
            fresh: Fresh { session: [1; 16], secret: [2; 16], token: [3; 16] },
        };
        let until = Timestamp::from_seconds(1_800_000_900);
        let entry = |scope| RevocationEntry { scope, until };
        let before = SubjectRecord::new(NOW);
        let raised = before.epoch + 40;
        let mut record = None;
        for epoch in [raised, raised - 1] {
            let entries = [entry(RevocationScope::SubjectEpoch(SubjectKey([7; 16]), epoch))];
            let decision = put_back(record.as_ref(), &entries, &context);
            assert_eq!(decision.facts, [Fact::RevocationPutBack(entries[0].clone())]);
            assert_eq!(decision.facts[0].revocation(SubjectKey([7; 16])), Some(entries[0].clone()));
            record = decision.record;
            let record = record.as_ref().expect("a record");
            assert_eq!((record.epoch, record.ended_below, record.keep_until), (raised, raised, until));
        }
        // After an outage: what it ended is over, and the entry no longer needed.
        let late =
            [RevocationEntry { scope: RevocationScope::SubjectEpoch(SubjectKey([7; 16]), raised + 1), until: NOW }];
        let decision = put_back(record.as_ref(), &late, &context);
        assert_eq!(decision.facts, []);
        assert_eq!(decision.record.map(|record| record.epoch), Some(raised + 1));
        let unknown = entry(RevocationScope::SessionEpoch(SessionId([9; 16]), 3));
        assert_eq!(put_back(None, std::slice::from_ref(&unknown), &context).facts, [Fact::RevocationPutBack(unknown)]);
    }
}
