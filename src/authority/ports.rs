//! What the use cases need from outside: a store that commits, a clock, randomness. Nothing here
//! knows what a record says, nor which store there is.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

pub use crate::clock::{Clock, ClockJumped};
use crate::domain::ids::{RealmName, SubjectKey};
pub use crate::domain::revocation::LogUpdate;
use crate::domain::revocation::{Owner, Revision, RevocationEntry};
use crate::domain::time::Timestamp;

/// The system's randomness. Injected, so that tests can repeat it.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills the buffer with bytes that nobody can predict.
    fn fill(&self, bytes: &mut [u8]);
}

/// What a record is about. Each kind is a key space of its own: one kind's id never reads another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// The store's own: the data keys that seal everything else, sealed by the key-encryption key.
    Vault = 0,
    /// A realm's state: pepper, signing keys, issuers.
    Realm = 1,
    /// Everything known of one subject.
    Subject = 2,
    /// A client's assertion that was used: it is there, and says nothing else.
    ClientAssertion = 3,
    /// The one-time codes of a recipient.
    Code = 4,
}

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    kind: RecordKind,
    realm: Option<RealmName>,
    id: [u8; 16],
}

impl RecordKey {
    /// The one record of the store's own.
    pub const VAULT: Self = Self { kind: RecordKind::Vault, realm: None, id: [0; 16] };

    /// A realm's record.
    pub fn realm(realm: RealmName) -> Self {
        Self { kind: RecordKind::Realm, realm: Some(realm), id: [0; 16] }
    }

    /// A subject's record.
    pub fn subject(realm: RealmName, subject: SubjectKey) -> Self {
        Self { kind: RecordKind::Subject, realm: Some(realm), id: subject.0 }
    }

    /// The record of a client's assertion.
    pub fn client_assertion(realm: RealmName, id: [u8; 16]) -> Self {
        Self { kind: RecordKind::ClientAssertion, realm: Some(realm), id }
    }

    /// The record of a recipient's one-time codes.
    pub fn code(realm: RealmName, recipient: [u8; 16]) -> Self {
        Self { kind: RecordKind::Code, realm: Some(realm), id: recipient }
    }

    /// What the record is about.
    pub fn kind(&self) -> RecordKind {
        self.kind
    }

    /// The realm, unless the record is the store's own.
    pub fn realm_name(&self) -> Option<&RealmName> {
        self.realm.as_ref()
    }

    /// Which of its kind and realm; zeros where there is only one.
    pub fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// Whose record it is, as entries of the revocation log say it; `None` for the store's own,
    /// and for what nothing of is ever revoked.
    pub fn owner(&self) -> Option<Owner> {
        let subject = match self.kind {
            RecordKind::Vault | RecordKind::Realm => None,
            RecordKind::Subject => Some(SubjectKey(self.id)),
            RecordKind::ClientAssertion | RecordKind::Code => return None,
        };
        Some(Owner { realm: self.realm.clone()?, subject })
    }

    /// The record that entries of the revocation log with this owner were committed with.
    pub fn owned_by(owner: &Owner) -> Self {
        let realm = owner.realm.clone();
        match owner.subject {
            Some(subject) => Self::subject(realm, subject),
            None => Self::realm(realm),
        }
    }

    /// The key as bytes: kind, id, realm. Unambiguous, since kind and id have fixed lengths.
    pub fn to_bytes(&self) -> Vec<u8> {
        let realm = self.realm.as_ref().map_or("", RealmName::as_str);
        let mut bytes = Vec::with_capacity(17 + realm.len());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(realm.as_bytes());
        bytes
    }

    /// The key that `to_bytes` wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (id, realm) = rest.split_first_chunk::<16>()?;
        let realm = std::str::from_utf8(realm).ok().and_then(|realm| RealmName::parse(realm).ok());
        let key = match *kind {
            0 => Self::VAULT,
            1 => Self::realm(realm?),
            2 => Self::subject(realm?, SubjectKey(*id)),
            3 => Self::client_assertion(realm?, *id),
            4 => Self::code(realm?, *id),
            _ => return None,
        };
        (key.to_bytes() == bytes).then_some(key)
    }
}

/// The random id of the commit that wrote a record. Never equal for two writes, so a record that
/// was deleted and made again can't match an old expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(pub [u8; 16]);

/// A record as read.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// What was committed.
    pub bytes: Zeroizing<Vec<u8>>,
    /// By which commit.
    pub version: Version,
}

/// Above the seal, the bytes are secrets.
impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({} bytes)", self.bytes.len())
    }
}

/// One atomic step: a record, if nobody else changed it meanwhile, and the revocations that follow.
#[derive(Clone, PartialEq, Eq)]
pub struct Commit {
    /// Chosen at random; the record's version afterwards. Sending a commit again is harmless.
    pub id: Version,
    /// The record to write.
    pub key: RecordKey,
    /// Its version as read, `None` for a record that is not there.
    pub expected: Option<Version>,
    /// Its new content.
    pub bytes: Zeroizing<Vec<u8>>,
    /// When the store may drop it: garbage collection only, validity never depends on it. `None`: never.
    pub expires: Option<Timestamp>,
    /// Appended to the revocation log in the same step.
    pub revocations: Vec<RevocationEntry>,
}

/// Above the seal, the bytes are secrets.
impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commit({:?}, {} bytes, {} revocations)", self.id, self.bytes.len(), self.revocations.len())
    }
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Durable. The revision covers the commit's revocations.
    Committed(Revision),
    /// The record's version was not the expected one; nothing was written.
    Conflict,
}

/// Why a store did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written, and the same may be tried again.
    #[error("store unavailable: {0}")]
    Unavailable(Arc<str>),
    /// The commit may have been written or not: send the same one again.
    #[error("outcome of the commit unknown: {0}")]
    OutcomeUnknown(Arc<str>),
    /// The store takes no more data; reads and revocations may still work.
    #[error("store full: {0}")]
    Full(Arc<str>),
    /// What was read is not what was written, or was sealed with another key.
    #[error("stored data damaged: {0}")]
    Corrupt(Arc<str>),
}

/// What a watcher of a record knows without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Grows with changes: several may be one step, and a step may turn out to be none.
    pub changes: u64,
    /// Every change up to then is counted.
    pub at: Timestamp,
}

/// A store: it commits, and knows nothing of tokens.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Into how many logs of their own its revocations are split; fixed for the store's life.
    fn partitions(&self) -> u16;

    /// Into which of them the revocations of this record go.
    fn partition(&self, key: &RecordKey) -> u16;

    /// Reads one record.
    async fn load(&self, key: &RecordKey) -> Result<Option<Stored>, StoreError>;

    /// Carries out one step, whole or not at all; durable once it answers `Committed`.
    async fn commit(&self, commit: &Commit) -> Result<Outcome, StoreError>;

    /// How far the log has got that this record's revocations are in, as certain as the answer to a
    /// commit: for whoever finds done what is asked for, maybe by a commit whose outcome nobody knew.
    async fn proof(&self, key: &RecordKey) -> Result<Revision, StoreError>;

    /// Follows the revocation log: a snapshot of each partition, then what is added. The follower
    /// never loses an entry: after any doubt about a partition, it gets a new snapshot of it, and is
    /// told what the log lost.
    async fn follow(&self) -> Result<mpsc::Receiver<LogUpdate>, StoreError>;

    /// Watches one record, which is then to be read: told soon of each commit to it, by whomever, and every
    /// second or so that none was missed. Ends when the store can no longer tell. Commits to a record that
    /// nobody watches pay nothing for it, or next to nothing.
    async fn watch(&self, key: &RecordKey) -> Result<watch::Receiver<Seen>, StoreError>;

    /// Whether the store can serve now; the error says why not.
    async fn ready(&self) -> Result<(), StoreError>;
}

/// The instances on the same store, as they talk to each other. What is said may get lost and is kept
/// nowhere: hearsay, never a proof.
#[async_trait]
pub trait Peers: Send + Sync + fmt::Debug + 'static {
    /// Tells all that listen, this instance too if it does.
    async fn tell(&self, words: &[u8]) -> Result<(), StoreError>;

    /// What is told from now on.
    fn hear(&self) -> BoxStream<'static, Vec<u8>>;
}
