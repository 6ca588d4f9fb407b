//! A revocation entry as a log keeps it, whichever store the log is in. Knows no store, and nothing
//! of what a revocation does to a token.
//!
//! Bytes: format (1) ‖ checksum (8) ‖ protobuf. An entry that turned into another one by damage would
//! un-revoke a token without a trace, so every entry is checked each time it is read.

use aws_lc_rs::digest::{Context, SHA256};
use prost::Message as _;

use crate::domain::ids::{ClientId, KeyId, RealmName, SessionId, SubjectKey};
use crate::domain::revocation::{Owner, RevocationEntry, RevocationScope};
use crate::domain::time::Timestamp;

const FORMAT: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

/// An entry of one partition's log, with its link to the entry before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Chosen at random with the entry.
    pub tag: u32,
    /// The number of the entry before; 0 at the start of the log.
    pub previous_number: u64,
    /// The tag of the entry before; 0 at the start of the log.
    pub previous_tag: u32,
    /// Whose record it was committed with; `None` if that was gone when its store was copied.
    pub owner: Option<Owner>,
    /// What it ends, and until when it matters.
    pub entry: RevocationEntry,
}

/// The bytes are not those of an entry at this place in the log, or a later version wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("revocation entry {number} {problem}")]
pub struct DamagedEntry {
    /// The entry's number.
    pub number: u64,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl LogEntry {
    /// The bytes to keep under `number`.
    pub fn encode(&self, number: u64) -> Vec<u8> {
        let row = Row {
            tag: self.tag,
            previous_number: self.previous_number,
            previous_tag: self.previous_tag,
            until_millis: self.entry.until.millis(),
            scope: Some(Scope::from(&self.entry.scope)),
            realm: self.owner.as_ref().map(|owner| owner.realm.to_string()).unwrap_or_default(),
            subject: self.owner.as_ref().and_then(|owner| owner.subject).map(|key| key.0.to_vec()).unwrap_or_default(),
        };
        checked(number, &row.encode_to_vec())
    }

    /// Reads what was kept under `number`.
    pub fn decode(number: u64, bytes: &[u8]) -> Result<Self, DamagedEntry> {
        let damaged = |problem| DamagedEntry { number, problem };
        let (format, rest) = bytes.split_first().ok_or(damaged("is empty"))?;
        if *format != FORMAT {
            return Err(damaged("has a format that this version does not know"));
        }
        let (sum, body) = rest.split_at_checked(CHECKSUM_BYTES).ok_or(damaged("is cut short"))?;
        if sum != checksum(number, body) {
            return Err(damaged("does not match its checksum"));
        }
        let row = Row::decode(body).map_err(|_| damaged("is no entry"))?;
        let scope = row.scope.as_ref().and_then(Scope::to_domain);
        let owner = row.owner().ok_or(damaged("belongs to nobody that this version knows"))?;
        Ok(Self {
            owner,
            tag: row.tag,
            previous_number: row.previous_number,
            previous_tag: row.previous_tag,
            entry: RevocationEntry {
                scope: scope.ok_or(damaged("ends something that this version does not know"))?,
                until: Timestamp::from_millis(row.until_millis),
            },
        })
    }
}

/// An entry's bytes, with what tells damage in front.
pub(crate) fn checked(number: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + CHECKSUM_BYTES + body.len());
    bytes.push(FORMAT);
    bytes.extend_from_slice(&checksum(number, body));
    bytes.extend_from_slice(body);
    bytes
}

/// Over the number too, so that an entry moved to another place shows.
fn checksum(number: u64, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut context = Context::new(&SHA256);
    context.update(&number.to_be_bytes());
    context.update(body);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&context.finish().as_ref()[..CHECKSUM_BYTES]);
    sum
}

#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(fixed32, tag = "1")]
    tag: u32,
    #[prost(uint64, tag = "2")]
    previous_number: u64,
    #[prost(fixed32, tag = "3")]
    previous_tag: u32,
    #[prost(int64, tag = "4")]
    until_millis: i64,
    #[prost(oneof = "Scope", tags = "5, 6, 7, 8, 9, 10, 11")]
    scope: Option<Scope>,
    /// Empty: no owner is named.
    #[prost(string, tag = "12")]
    realm: String,
    /// Empty: the realm itself.
    #[prost(bytes = "vec", tag = "13")]
    subject: Vec<u8>,
}

impl Row {
    fn owner(&self) -> Option<Option<Owner>> {
        if self.realm.is_empty() {
            return Some(None);
        }
        let subject = match self.subject.as_slice() {
            [] => None,
            key => Some(SubjectKey(key.try_into().ok()?)),
        };
        Some(Some(Owner { realm: RealmName::parse(&self.realm).ok()?, subject }))
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Scope {
    #[prost(bytes = "vec", tag = "5")]
    Session(Vec<u8>),
    #[prost(bytes = "vec", tag = "6")]
    Token(Vec<u8>),
    #[prost(message, tag = "7")]
    SubjectEpoch(Epoch),
    #[prost(message, tag = "8")]
    SessionEpoch(Epoch),
    #[prost(message, tag = "9")]
    Client(Cutoff),
    #[prost(string, tag = "10")]
    Key(String),
    #[prost(message, tag = "11")]
    Realm(Cutoff),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Epoch {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    epoch: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Cutoff {
    #[prost(string, tag = "1")]
    realm: String,
    #[prost(string, tag = "2")]
    client: String,
    #[prost(int64, tag = "3")]
    issued_millis: i64,
}

impl From<&RevocationScope> for Scope {
    fn from(scope: &RevocationScope) -> Self {
        let epoch = |id: &[u8; 16], epoch: &u32| Epoch { id: id.to_vec(), epoch: *epoch };
        let cutoff = |realm: &RealmName, client: &str, issued: &Timestamp| Cutoff {
            realm: realm.to_string(),
            client: client.to_owned(),
            issued_millis: issued.millis(),
        };
        match scope {
            RevocationScope::Session(session) => Self::Session(session.0.to_vec()),
            RevocationScope::Token(token) => Self::Token(token.to_vec()),
            RevocationScope::SubjectEpoch(subject, number) => Self::SubjectEpoch(epoch(&subject.0, number)),
            RevocationScope::SessionEpoch(session, number) => Self::SessionEpoch(epoch(&session.0, number)),
            RevocationScope::Client(realm, client, issued) => Self::Client(cutoff(realm, client.as_str(), issued)),
            RevocationScope::Key(key) => Self::Key(key.to_string()),
            RevocationScope::Realm(realm, issued) => Self::Realm(cutoff(realm, "", issued)),
        }
    }
}

impl Scope {
    fn to_domain(&self) -> Option<RevocationScope> {
        let id = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).ok();
        let realm = |cutoff: &Cutoff| RealmName::parse(&cutoff.realm).ok();
        let issued = |cutoff: &Cutoff| Timestamp::from_millis(cutoff.issued_millis);
        Some(match self {
            Self::Session(session) => RevocationScope::Session(SessionId(id(session)?)),
            Self::Token(token) => RevocationScope::Token(id(token)?),
            Self::SubjectEpoch(it) => RevocationScope::SubjectEpoch(SubjectKey(id(&it.id)?), it.epoch),
            Self::SessionEpoch(it) => RevocationScope::SessionEpoch(SessionId(id(&it.id)?), it.epoch),
            Self::Client(it) => RevocationScope::Client(realm(it)?, ClientId::parse(&it.client).ok()?, issued(it)),
            Self::Key(key) => RevocationScope::Key(KeyId::parse(key).ok()?),
            Self::Realm(it) => RevocationScope::Realm(realm(it)?, issued(it)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<RevocationScope> {
        let realm = RealmName::parse("web").expect("a realm");
        let client = ClientId::parse("app").expect("a client");
        let key = KeyId::parse("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs").expect("a key id");
        let issued = Timestamp::from_millis(1_750_000_000_123);
        vec![
            RevocationScope::Session(SessionId([1; 16])),
            RevocationScope::Token([2; 16]),
            RevocationScope::SubjectEpoch(SubjectKey([3; 16]), 7),
            RevocationScope::SessionEpoch(SessionId([4; 16]), 0),
            RevocationScope::Client(realm.clone(), client, issued),
            RevocationScope::Key(key),
            RevocationScope::Realm(realm, issued),
        ]
    }

    fn entry(scope: RevocationScope) -> LogEntry {
        let owner = Owner { realm: RealmName::parse("web").expect("a realm"), subject: Some(SubjectKey([9; 16])) };
        let entry = RevocationEntry { scope, until: Timestamp::from_millis(1_760_000_000_000) };
        LogEntry { tag: 5, previous_number: 41, previous_tag: 6, owner: Some(owner), entry }
    }

    #[test]
    fn every_scope_survives_its_encoding() {
        for scope in one_of_each() {
            let entry = entry(scope);
            let owner = |subject| entry.owner.clone().map(|owner| Owner { subject, ..owner });
            for owner in [owner(Some(SubjectKey([9; 16]))), owner(None), None] {
                let entry = LogEntry { owner, ..entry.clone() };
                assert_eq!(LogEntry::decode(42, &entry.encode(42)), Ok(entry));
            }
        }
    }

    #[test]
    fn no_flipped_bit_and_no_other_place_goes_unnoticed() {
        for scope in one_of_each() {
            let bytes = entry(scope).encode(42);
            assert!(LogEntry::decode(43, &bytes).is_err());
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(LogEntry::decode(42, &damaged).is_err(), "bit {bit}");
            }
            for length in 0..bytes.len() {
                assert!(LogEntry::decode(42, &bytes[..length]).is_err(), "cut to {length}");
            }
        }
    }
}
