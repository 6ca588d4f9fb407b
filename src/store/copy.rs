//! Copying one store into another, of whichever kind: the same records under the same versions, and the
//! revocations that still matter. Knows no command line, and no more of a record than its seal.
//!
//! A record's seal names its place and its version, which stay, so its bytes are copied as they are,
//! each opened once to see that it can be. The data keys go along, sealed by the destination's key. Until
//! all is there, a mark stands in place of the vault that no server starts on.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, ready};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use zeroize::Zeroizing;

use super::key_encryption_key::KeyEncryptionKey;
use super::scan::{Row, Scan};
use super::sealing;
use super::vault::{self, Keyring, VaultError};
use crate::authority::ports::{Clock, Commit, Entropy, Outcome, RecordKey, RecordKind, StoreError, Version};
use crate::domain::revocation::RevocationEntry;

/// Between two of these that read the same, nothing changed: what was copied is what the source held
/// at a moment in between. A source that is served never gets there.
const MOST_PASSES: u32 = 5;
/// Commits under way at a time: a full batch of the embedded store, a busy pipeline of Redis.
const CONCURRENCY: usize = 256;
/// How many revocations go in one step with no record of their own.
const ENTRIES_A_STEP: usize = 256;
/// How often a commit is sent that may or may not have been written, and how long after the last time.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// Why a store was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Nothing to copy.
    #[error("there is no store to copy: the source has no vault")]
    Absent,
    /// Something is there already.
    #[error("the destination is not empty: name an empty directory, or another prefix or database of Redis")]
    NotEmpty,
    /// Somebody else writes to it.
    #[error("somebody else writes to the destination: copy again, into an empty one that no server uses")]
    Taken,
    /// The source is in use.
    #[error(
        "the source changed during each of {MOST_PASSES} passes: stop the servers that use it, and copy again into an \
         empty destination. This one is not a whole store, and no server starts on it"
    )]
    Changing,
    /// The keys.
    #[error("source: {0}")]
    Vault(#[from] VaultError),
    /// Reading.
    #[error("source: {0}")]
    Source(StoreError),
    /// Writing.
    #[error("destination: {0}")]
    Destination(StoreError),
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Realms, with their keys.
    pub realms: usize,
    /// Subjects, with their sessions.
    pub subjects: usize,
    /// Revocations that still matter.
    pub revocations: usize,
    /// How often the source was read.
    pub passes: u32,
}

/// A store, and the key that opens its vault.
#[derive(Debug)]
pub struct Side {
    /// The store as it is kept, not sealed.
    pub store: Arc<dyn Scan>,
    /// Its key-encryption key.
    pub key: KeyEncryptionKey,
}

/// Copies everything, and says what. The source stays as it is.
pub async fn copy(from: &Side, to: &Side, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Copied, CopyError> {
    let vault = from.store.load(&RecordKey::VAULT).await.map_err(CopyError::Source)?.ok_or(CopyError::Absent)?;
    let keyring = Keyring::of(&vault, &from.key)?;
    if !is_empty(&*to.store).await.map_err(CopyError::Destination)? {
        return Err(CopyError::NotEmpty);
    }
    let mut copy = Copy {
        from,
        to,
        clock,
        entropy,
        keyring,
        mark: None,
        versions: HashMap::new(),
        entries: HashSet::new(),
        unwritten: HashMap::new(),
    };
    copy.mark(vault::UNFINISHED.to_vec().into(), Vec::new()).await?;
    let mut passes = 1;
    while copy.pass(passes).await? == Found::Changes {
        passes += 1;
        if passes > MOST_PASSES {
            return Err(CopyError::Changing);
        }
    }
    // Read again: the key-encryption key may have been replaced meanwhile.
    let vault = from.store.load(&RecordKey::VAULT).await.map_err(CopyError::Source)?.ok_or(CopyError::Absent)?;
    copy.mark(vault::resealed(&vault, &from.key, &to.key, entropy)?.into(), Vec::new()).await?;
    let of = |kind| copy.versions.keys().filter(|key| key.kind() == kind).count();
    let (realms, subjects) = (of(RecordKind::Realm), of(RecordKind::Subject));
    Ok(Copied { realms, subjects, revocations: copy.entries.len(), passes })
}

async fn is_empty(store: &dyn Scan) -> Result<bool, StoreError> {
    let (rows, mut found) = mpsc::channel(1);
    // The receiver goes with the first row, and with it the scan.
    let (scanned, found) = join(store.scan(rows), async move { found.recv().await.is_some() }).await;
    scanned?;
    Ok(!found && store.entries().await?.is_empty())
}

/// A copy under way.
struct Copy<'a> {
    from: &'a Side,
    to: &'a Side,
    clock: &'a dyn Clock,
    entropy: &'a dyn Entropy,
    keyring: Keyring,
    /// The version of what stands in place of the destination's vault.
    mark: Option<Version>,
    /// What the destination has, and since which pass.
    versions: HashMap<RecordKey, (Version, u32)>,
    entries: HashSet<RevocationEntry>,
    /// Of those, the ones that wait for the record that they belong to.
    unwritten: HashMap<RecordKey, Vec<RevocationEntry>>,
}

/// What a pass came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Changes,
}

impl Copy<'_> {
    /// Reads the source once, and writes what the destination does not have yet.
    async fn pass(&mut self, pass: u32) -> Result<Found, CopyError> {
        let now = self.clock.now();
        let mut found = Found::Nothing;
        for (owner, entry) in self.from.store.entries().await.map_err(CopyError::Source)? {
            if entry.until > now && self.entries.insert(entry.clone()) {
                let key = owner.as_ref().map_or(RecordKey::VAULT, RecordKey::owned_by);
                self.unwritten.entry(key).or_default().push(entry);
                found = Found::Changes;
            }
        }
        let (from, to) = (&*self.from.store, &*self.to.store);
        let (rows, received) = mpsc::channel(CONCURRENCY);
        let commits = ReceiverStream::new(received).map(|row| self.commit(row, pass));
        let written = commits
            .try_filter_map(|commit| ready(Ok(commit)))
            .map_ok(|commit| async move { send(to, &commit).await })
            .try_buffer_unordered(CONCURRENCY)
            .try_fold(0_u64, |written, ()| ready(Ok(written + 1)));
        let (scanned, written) = join(from.scan(rows), written).await;
        if written? > 0 {
            found = Found::Changes;
        }
        scanned.map_err(CopyError::Source)?;
        // What nobody owns, or whose owner has expired or was copied by an earlier pass already.
        let ownerless: Vec<_> = self.unwritten.drain().flat_map(|(_, entries)| entries).collect();
        for step in ownerless.chunks(ENTRIES_A_STEP) {
            self.mark(vault::UNFINISHED.to_vec().into(), step.to_vec()).await?;
        }
        Ok(found)
    }

    /// What has to be written for a row, if anything.
    fn commit(&mut self, row: Row, pass: u32) -> Result<Option<Commit>, CopyError> {
        let Row { key, stored, expires } = row;
        if key.kind() == RecordKind::Vault {
            return Ok(None);
        }
        let expected = match self.versions.entry(key.clone()) {
            Entry::Vacant(entry) => {
                entry.insert((stored.version, pass));
                None
            }
            Entry::Occupied(mut entry) => match *entry.get() {
                // A row may come twice in a pass; the next pass sees what it has become since.
                (version, of) if version == stored.version || of == pass => return Ok(None),
                (version, _) => {
                    entry.insert((stored.version, pass));
                    Some(version)
                }
            },
        };
        sealing::unseal(&self.keyring, &key, stored.clone()).map_err(CopyError::Source)?;
        let (id, bytes) = (stored.version, stored.bytes);
        // With their record, as they were: they stand in its partition and name it, so that they are put back after
        // a failover.
        let revocations = self.unwritten.remove(&key).unwrap_or_default();
        Ok(Some(Commit { id, key, expected, bytes, expires, revocations }))
    }

    /// Writes to the place of the vault.
    async fn mark(&mut self, bytes: Zeroizing<Vec<u8>>, revocations: Vec<RevocationEntry>) -> Result<(), CopyError> {
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let (id, expected) = (Version(id), self.mark);
        let commit = Commit { id, key: RecordKey::VAULT, expected, bytes, expires: None, revocations };
        send(&*self.to.store, &commit).await?;
        self.mark = Some(id);
        Ok(())
    }
}

/// Sends a commit until its outcome is known; the same one again is harmless.
async fn send(to: &dyn Scan, commit: &Commit) -> Result<(), CopyError> {
    let mut attempt = 1;
    loop {
        match to.commit(commit).await {
            Ok(Outcome::Committed(_)) => return Ok(()),
            Ok(Outcome::Conflict) => return Err(CopyError::Taken),
            Err(StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_)) if attempt < ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(CopyError::Destination(error)),
        }
    }
}
