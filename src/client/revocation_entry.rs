//! Revocations as they come over the wire, in the types of the index. The proto says how each is
//! computed from a token.

use crate::domain::ids::{ClientId, KeyId, RealmName, SessionId, SubjectKey};
use crate::domain::revocation::{RevocationEntry, RevocationScope};
use crate::domain::time::Timestamp;
use crate::proto::v1;
use crate::proto::v1::revocation_entry::Target;

/// Reads an entry of the realm. `None` for one that can't be understood: what it ends is then
/// unknown, and skipping it would let revoked tokens pass.
pub(super) fn read(realm: &RealmName, entry: v1::RevocationEntry) -> Option<RevocationEntry> {
    let scope = match entry.target? {
        Target::Session(session) => RevocationScope::Session(SessionId(random(&session)?)),
        Target::Token(token) => RevocationScope::Token(random(&token)?),
        Target::SessionEpoch(of) => RevocationScope::SessionEpoch(SessionId(random(&of.session)?), epoch(of.epoch)?),
        Target::SubjectEpoch(of) => {
            RevocationScope::SubjectEpoch(SubjectKey(random(&of.subject_key)?), epoch(of.epoch)?)
        }
        Target::ClientCutoff(of) => {
            let client = ClientId::parse(&of.client_id).ok()?;
            RevocationScope::Client(realm.clone(), client, time(of.cutoff_time?))
        }
        Target::KeyId(kid) => RevocationScope::Key(KeyId::parse(&kid).ok()?),
        Target::RealmCutoffTime(at) => RevocationScope::Realm(realm.clone(), time(at)),
    };
    Some(RevocationEntry { scope, until: time(entry.expire_time?) })
}

fn random(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.try_into().ok()
}

fn epoch(epoch: i64) -> Option<u32> {
    u32::try_from(epoch).ok()
}

/// Milliseconds, as the log has them.
pub(super) fn time(time: prost_types::Timestamp) -> Timestamp {
    let millis = i64::from(time.nanos).div_euclid(1_000_000);
    Timestamp::from_millis(time.seconds.saturating_mul(1000).saturating_add(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: Option<Target>) -> v1::RevocationEntry {
        v1::RevocationEntry { target, expire_time: Some(prost_types::Timestamp { seconds: 9, nanos: 0 }) }
    }

    #[test]
    fn each_target_is_read_and_none_is_guessed() {
        let realm = RealmName::parse("default").expect("a realm");
        let at = prost_types::Timestamp { seconds: 7, nanos: 5_000_000 };
        let (session, when) = (SessionId([3; 16]), Timestamp::from_millis(7_005));
        let epoch = |epoch| v1::SessionEpoch { session: vec![3; 16], epoch };
        let cutoff = |client: &str| v1::ClientCutoff { client_id: client.to_owned(), cutoff_time: Some(at) };
        let cases = [
            (Target::Session(vec![3; 16]), Some(RevocationScope::Session(session))),
            (Target::Session(vec![3; 15]), None),
            (Target::Token(vec![4; 16]), Some(RevocationScope::Token([4; 16]))),
            (Target::Token(vec![]), None),
            (Target::SessionEpoch(epoch(2)), Some(RevocationScope::SessionEpoch(session, 2))),
            (Target::SessionEpoch(epoch(-1)), None),
            (Target::SessionEpoch(epoch(1 << 32)), None),
            (
                Target::SubjectEpoch(v1::SubjectEpoch { subject_key: vec![5; 16], epoch: 1 }),
                Some(RevocationScope::SubjectEpoch(SubjectKey([5; 16]), 1)),
            ),
            (
                Target::ClientCutoff(cutoff("web")),
                ClientId::parse("web").ok().map(|client| RevocationScope::Client(realm.clone(), client, when)),
            ),
            (Target::ClientCutoff(cutoff("")), None),
            (Target::KeyId("k".into()), KeyId::parse("k").ok().map(RevocationScope::Key)),
            (Target::KeyId("../k".into()), None),
            (Target::RealmCutoffTime(at), Some(RevocationScope::Realm(realm.clone(), when))),
        ];
        for (target, scope) in cases {
            let seen = read(&realm, entry(Some(target.clone()))).map(|entry| entry.scope);
            assert_eq!(seen, scope, "{target:?}");
        }
        assert_eq!(read(&realm, entry(None)), None, "a target of a later version");
    }
}
