//! What ends tokens before they expire: entries of a grow-only set, and where in the log they stand.

use std::fmt;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ids::{ClientId, KeyId, RealmName, SessionId, SubjectKey};
use super::time::Timestamp;

/// What an entry ends. The effective cut-off of a token is the latest over all of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RevocationScope {
    /// Every token of a session.
    Session(SessionId),
    /// One token, by the random part of its `jti`.
    Token([u8; 16]),
    /// The sessionless tokens of a subject whose epoch is below this one.
    SubjectEpoch(SubjectKey, u32),
    /// The access tokens of a session whose epoch is below this one; the session lives on.
    SessionEpoch(SessionId, u32),
    /// A client's tokens issued at or before this time.
    Client(RealmName, ClientId, Timestamp),
    /// Every token that a key signed.
    Key(KeyId),
    /// A realm's tokens issued at or before this time.
    Realm(RealmName, Timestamp),
}

/// One entry of the revocation log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RevocationEntry {
    /// What it ends.
    pub scope: RevocationScope,
    /// When the last token that it could end has expired, and the entry may be forgotten.
    pub until: Timestamp,
}

/// Whose record an entry was committed with: where to end again what it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// In which realm.
    pub realm: RealmName,
    /// `None`: the realm's own, for what ends a client's tokens or all.
    pub subject: Option<SubjectKey>,
}

/// A place in one partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition of the store.
    pub partition: u16,
    /// The entry's number: grows within a partition.
    pub number: u64,
    /// Chosen at random with the entry, so that a number used twice (failover) shows.
    pub tag: u32,
}

/// How far the log had grown: opaque to callers, a set of positions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revision(Vec<Position>);

const POSITION_BYTES: usize = 14;
const MAX_PARTITIONS: usize = 256;

impl Revision {
    /// At one position.
    pub fn at(position: Position) -> Self {
        Self(vec![position])
    }

    /// The positions, at most one a partition.
    pub fn positions(&self) -> &[Position] {
        &self.0
    }

    /// Adds another revision; of two positions in one partition the later stays.
    pub fn merge(&mut self, other: &Self) {
        for position in &other.0 {
            match self.0.iter_mut().find(|mine| mine.partition == position.partition) {
                Some(mine) if mine.number < position.number => *mine = *position,
                Some(_) => {}
                None => self.0.push(*position),
            }
        }
    }

    /// Parses the text that the API gave out. Empty text is the revision before everything.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_PARTITIONS * POSITION_BYTES * 4 / 3 + 2 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (chunks, []) = bytes.as_chunks::<POSITION_BYTES>() else { return None };
        let position = |&[p0, p1, n0, n1, n2, n3, n4, n5, n6, n7, t0, t1, t2, t3]: &[u8; POSITION_BYTES]| Position {
            partition: u16::from_be_bytes([p0, p1]),
            number: u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
            tag: u32::from_be_bytes([t0, t1, t2, t3]),
        };
        Some(Self(chunks.iter().map(position).collect()))
    }
}

/// Of positions in different partitions.
impl FromIterator<Position> for Revision {
    fn from_iter<I: IntoIterator<Item = Position>>(positions: I) -> Self {
        Self(positions.into_iter().collect())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(self.0.len() * POSITION_BYTES);
        for position in &self.0 {
            bytes.extend_from_slice(&position.partition.to_be_bytes());
            bytes.extend_from_slice(&position.number.to_be_bytes());
            bytes.extend_from_slice(&position.tag.to_be_bytes());
        }
        Base64Display::new(&bytes, &URL_SAFE_NO_PAD).fmt(f)
    }
}

/// What a follower of the revocation log is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogUpdate {
    /// Everything in a partition's log up to `head`: sent first, and again after any doubt.
    Snapshot {
        /// Up to here.
        head: Position,
        /// The entries, in no particular order.
        entries: Vec<RevocationEntry>,
    },
    /// One more entry.
    Entry {
        /// Where it stands.
        position: Position,
        /// What it ends.
        entry: RevocationEntry,
    },
    /// Entries that were in the log and are not any more though they still matter, as after a failover
    /// to a replica that lagged. They are in force where they were told, but the records that they
    /// were committed with are of before, and whoever starts now never hears of them.
    Lost {
        /// Each with its owner.
        entries: Vec<(Owner, RevocationEntry)>,
    },
    /// Everything that the log held at this time has been told.
    Confirmed {
        /// By the clock of this instance.
        at: Timestamp,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_survives_its_text_form_and_merges_forward() {
        let early = Revision::at(Position { partition: 3, number: 7, tag: 9 });
        let late = Revision::at(Position { partition: 3, number: 8, tag: 1 });
        assert_eq!(Revision::parse(&early.to_string()), Some(early.clone()));
        assert_eq!(Revision::parse(""), Some(Revision::default()));
        assert_eq!(Revision::parse("AAAA"), None);
        let mut merged = late.clone();
        merged.merge(&early);
        assert_eq!(merged, late);
        merged.merge(&Revision::at(Position { partition: 4, number: 1, tag: 1 }));
        assert_eq!(merged.positions().len(), 2);
    }
}
