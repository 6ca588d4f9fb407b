//! Which keys there are in Redis and what stands in them: the one place that says so. Knows no
//! command and no connection.
//!
//! `P` is the store's prefix (`ta` unless the URL says otherwise), `{p}` a partition from 0 to 255. The
//! braces are a hash tag: all keys of a partition share a slot of a Cluster, so one script changes them
//! as one. A record's partition is the first byte of its id, a keyed hash of the subject or a hash.
//!
//! | key                | holds                                                     | TTL                 |
//! |--------------------|-----------------------------------------------------------|---------------------|
//! | `P:{p}:s:REALM:ID` | a subject's record: version (16) ‖ expiry (8) ‖ sealed     | its expiry + 60 s   |
//! | `P:{p}:a:REALM:ID` | a client assertion that was used, as a subject's record       | its expiry + 60 s   |
//! | `P:{p}:c:REALM:ID` | a recipient's one-time codes, as a subject's record         | its expiry + 60 s   |
//! | `P:{p}:log`        | sorted set of revocation entries, by when they may go      | the last of them    |
//! | `P:{p}:head`       | number and tag of the last entry                           | none: no subject    |
//! | `P:{p}:w:s:REALM:ID`| the channel for hints, while somebody watches that record | 30 s, renewed         |
//! | `P:{0}:r:REALM`    | a realm's record, as a subject's                           | none: no subject    |
//! | `P:{0}:vault`      | the data keys, sealed by the key-encryption key            | none: no subject    |
//! | `P:{0}:layout`     | the number of this layout and of the partitions            | none: no subject    |
//!
//! While another store is copied into this one, a mark stands in place of the vault (`store::copy`).
//! Servers talk to each other on the channel `P:peers` (`authority::company`). Entries are published on `P:log` as `p ENTRY`. An entry is `NUMBER TAG PREVIOUS_NUMBER
//! PREVIOUS_TAG BYTES`, numbers and tags in decimal; the bytes (`log_entry`) name the record that it was
//! committed with, so that whoever followed the log can put it back after a failover. A commit to a watched
//! record publishes its version and its key on `P:watch`.

use std::fmt;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authority::ports::{RecordKey, RecordKind, StoreError, Stored, Version};
use crate::domain::ids::{RealmName, SubjectKey};
use crate::domain::revocation::{Owner, Position, RevocationEntry};
use crate::domain::time::Timestamp;
use crate::store::log_entry::LogEntry;

/// How many logs there are; fixed, since a record never moves to another.
pub(super) const PARTITIONS: u16 = 256;
/// What `P:{0}:layout` says; a store that says something else is refused.
pub(super) const LAYOUT: &str = "1 256";
/// Version and expiry, before a record's content.
pub(super) const RECORD_HEAD: usize = 24;

/// Every name in a store.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn record(&self, key: &RecordKey) -> String {
        self.of(partition(key), Rest(key))
    }

    /// Where a watch of a record is announced.
    pub(super) fn watch(&self, key: &RecordKey) -> String {
        self.of(partition(key), format_args!("w:{}", Rest(key)))
    }

    pub(super) fn log(&self, partition: u16) -> String {
        self.of(partition, "log")
    }

    pub(super) fn head(&self, partition: u16) -> String {
        self.of(partition, "head")
    }

    pub(super) fn layout(&self) -> String {
        self.of(0, "layout")
    }

    pub(super) fn channel(&self) -> String {
        format!("{}:log", self.prefix)
    }

    /// The channel of hints at changed records.
    pub(super) fn hints(&self) -> String {
        format!("{}:watch", self.prefix)
    }

    pub(super) fn peers(&self) -> String {
        format!("{}:peers", self.prefix)
    }

    /// Matches every key of every partition, in the pattern language of Redis.
    pub(super) fn every(&self) -> String {
        format!("{}:{{*}}:*", self.prefix)
    }

    /// Which record a key is of; `None` where it is of none.
    pub(super) fn record_of(&self, name: &str) -> Option<RecordKey> {
        let (_, rest) = name.strip_prefix(&self.prefix)?.strip_prefix(":{")?.split_once("}:")?;
        let key = match rest.split_once(':') {
            None => RecordKey::VAULT,
            Some(("r", realm)) => RecordKey::realm(RealmName::parse(realm).ok()?),
            Some((kind @ ("s" | "a" | "c"), owned)) => {
                let (realm, id) = owned.split_once(':')?;
                let realm = RealmName::parse(realm).ok()?;
                let id = URL_SAFE_NO_PAD.decode(id).ok()?.try_into().ok()?;
                match kind {
                    "s" => RecordKey::subject(realm, SubjectKey(id)),
                    "a" => RecordKey::client_assertion(realm, id),
                    _ => RecordKey::code(realm, id),
                }
            }
            Some(_) => return None,
        };
        (self.record(&key) == name).then_some(key)
    }

    fn of(&self, partition: u16, rest: impl fmt::Display) -> String {
        format!("{}:{{{partition}}}:{rest}", self.prefix)
    }
}

/// A record's name behind its partition.
struct Rest<'a>(&'a RecordKey);

impl fmt::Display for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let realm = self.0.realm_name().map_or("", |realm| realm.as_str());
        let id = Base64Display::new(self.0.id(), &URL_SAFE_NO_PAD);
        match self.0.kind() {
            RecordKind::Vault => f.write_str("vault"),
            RecordKind::Realm => write!(f, "r:{realm}"),
            RecordKind::Subject => write!(f, "s:{realm}:{id}"),
            RecordKind::ClientAssertion => write!(f, "a:{realm}:{id}"),
            RecordKind::Code => write!(f, "c:{realm}:{id}"),
        }
    }
}

/// Where a record and the revocations committed with it are.
pub(super) fn partition(key: &RecordKey) -> u16 {
    match key.kind() {
        RecordKind::Vault | RecordKind::Realm => 0,
        RecordKind::Subject | RecordKind::ClientAssertion | RecordKind::Code => u16::from(key.id()[0]),
    }
}

/// The bytes of a record. An expiry of 0 is none.
pub(super) fn encode_record(version: Version, expires: Option<Timestamp>, content: &[u8]) -> Vec<u8> {
    let expiry = expires.map_or(0, |at| u64::try_from(at.millis()).unwrap_or(0).max(1));
    let mut bytes = Vec::with_capacity(RECORD_HEAD + content.len());
    bytes.extend_from_slice(&version.0);
    bytes.extend_from_slice(&expiry.to_be_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// Reads a record; an expired one is not there, whatever Redis still holds.
pub(super) fn decode_record(bytes: &[u8], now: Timestamp) -> Result<Option<Stored>, StoreError> {
    Ok(decode_expiring(bytes, now)?.map(|(stored, _)| stored))
}

/// The same, with the record's expiry.
pub(super) fn decode_expiring(bytes: &[u8], now: Timestamp) -> Result<Option<(Stored, Option<Timestamp>)>, StoreError> {
    let parts = bytes.split_first_chunk::<16>().and_then(|(version, rest)| {
        let (expiry, content) = rest.split_first_chunk::<8>()?;
        Some((Version(*version), u64::from_be_bytes(*expiry), content))
    });
    let (version, expiry, content) = parts.ok_or_else(|| damaged("a record is shorter than its head"))?;
    let expires = (expiry != 0).then(|| Timestamp::from_millis(i64::try_from(expiry).unwrap_or(i64::MAX)));
    let alive = expires.is_none_or(|at| at > now);
    Ok(alive.then(|| (Stored { bytes: content.to_vec().into(), version }, expires)))
}

/// An entry's bytes as sent: its number is not known yet, so its checksum covers the tag instead,
/// which `decode_entry` compares with the tag beside it.
pub(super) fn encode_entry(tag: u32, owner: Option<Owner>, entry: &RevocationEntry) -> Vec<u8> {
    LogEntry { tag, previous_number: 0, previous_tag: 0, owner, entry: entry.clone() }.encode(u64::from(tag))
}

/// An entry as it stands in a log.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) position: Position,
    /// The entry before it.
    pub(super) previous: Position,
    pub(super) owner: Option<Owner>,
    pub(super) entry: RevocationEntry,
}

pub(super) fn decode_entry(partition: u16, bytes: &[u8]) -> Result<Linked, StoreError> {
    let malformed = || damaged("a revocation entry");
    let mut parts = bytes.splitn(5, |byte| *byte == b' ');
    let mut number = || parts.next().and_then(number).ok_or_else(malformed);
    let (own, tag, previous, previous_tag) = (number()?, number()?, number()?, number()?);
    let at = |number, tag| {
        Ok::<_, StoreError>(Position { partition, number, tag: u32::try_from(tag).map_err(|_| malformed())? })
    };
    let body = parts.next().ok_or_else(malformed)?;
    let entry = LogEntry::decode(tag, body).map_err(|problem| StoreError::Corrupt(problem.to_string().into()))?;
    let LogEntry { owner, entry, .. } = entry;
    Ok(Linked { position: at(own, tag)?, previous: at(previous, previous_tag)?, owner, entry })
}

/// What was published: a partition and an entry.
pub(super) fn decode_message(bytes: &[u8]) -> Result<Linked, StoreError> {
    let malformed = || damaged("a published entry");
    let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
    let partition = number(&bytes[..space]).and_then(|number| u16::try_from(number).ok());
    let partition = partition.filter(|partition| *partition < PARTITIONS).ok_or_else(malformed)?;
    decode_entry(partition, &bytes[space + 1..])
}

/// What was published of a changed record: its new version, and its key.
pub(super) fn decode_hint(keys: &Keys, bytes: &[u8]) -> Option<(RecordKey, Version)> {
    let (version, name) = bytes.split_first_chunk::<16>()?;
    Some((keys.record_of(std::str::from_utf8(name).ok()?)?, Version(*version)))
}

/// `NUMBER TAG`, as a head says it.
pub(super) fn decode_head(partition: u16, bytes: &[u8]) -> Result<Position, StoreError> {
    let parts = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once(' '));
    let head = parts.and_then(|(number, tag)| Some((number.parse().ok()?, tag.parse().ok()?)));
    let (number, tag) = head.ok_or_else(|| damaged("the head of a revocation log"))?;
    Ok(Position { partition, number, tag })
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::revocation::RevocationScope;

    #[test]
    fn no_two_records_share_a_key() {
        let realm = |name| RealmName::parse(name).expect("a realm");
        let keys = Keys::new("ta");
        let named = [
            (RecordKey::VAULT, "ta:{0}:vault"),
            (RecordKey::realm(realm("vault")), "ta:{0}:r:vault"),
            (RecordKey::subject(realm("web"), SubjectKey([0; 16])), "ta:{0}:s:web:AAAAAAAAAAAAAAAAAAAAAA"),
            (RecordKey::subject(realm("web"), SubjectKey([255; 16])), "ta:{255}:s:web:_____________________w"),
            (RecordKey::client_assertion(realm("web"), [255; 16]), "ta:{255}:a:web:_____________________w"),
            (RecordKey::code(realm("web"), [255; 16]), "ta:{255}:c:web:_____________________w"),
        ];
        let subject = RecordKey::subject(realm("web"), SubjectKey([0; 16]));
        assert_eq!(keys.watch(&subject), "ta:{0}:w:s:web:AAAAAAAAAAAAAAAAAAAAAA");
        for (key, name) in named {
            assert_eq!(keys.record(&key), name);
            assert_eq!(keys.record_of(name), Some(key.clone()));
            assert_eq!(keys.record_of(&keys.watch(&key)), None);
            let hint = [&[7; 16], name.as_bytes()].concat();
            assert_eq!(decode_hint(&keys, &hint), Some((key, Version([7; 16]))));
        }
        for name in
            ["ta:{0}:log", "ta:{0}:layout", "tb:{0}:vault", "ta:{1}:r:web", "ta:{1}:s:web:AAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert_eq!(keys.record_of(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_entry_is_damage_and_not_a_panic() {
        let entry = RevocationEntry { scope: RevocationScope::Token([7; 16]), until: Timestamp::from_seconds(9) };
        let bytes = [b"12 5 11 4 ".as_slice(), &encode_entry(5, None, &entry)].concat();
        let linked = decode_entry(3, &bytes).expect("an entry");
        assert_eq!((linked.position.number, linked.position.tag, linked.previous.number), (12, 5, 11));
        assert_eq!(linked.entry, entry);
        for end in 0..bytes.len() {
            assert!(decode_entry(3, &bytes[..end]).is_err(), "{end}");
        }
        let moved = [b"12 6 11 4 ".as_slice(), &encode_entry(5, None, &entry)].concat();
        assert!(decode_entry(3, &moved).is_err());
        assert!(decode_message(&[b"256 ".as_slice(), &bytes].concat()).is_err());
        assert!(decode_message(&[b"255 ".as_slice(), &bytes].concat()).is_ok());
    }
}
