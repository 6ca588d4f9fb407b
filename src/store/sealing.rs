//! A store whose records are sealed before they leave the process. Knows any store below it, and
//! nothing of the records' content.
//!
//! A sealed record: format (1) ‖ data key id (4) ‖ AES-256-GCM ciphertext and tag. The key is the
//! record's own, the nonce is from the commit's id (random, so unique under that key), and the associated
//! data name the record and the version: moved to another record or version, it does not open.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use super::key_encryption_key::KeyEncryptionKey;
use super::vault::{Keyring, VaultError};
use crate::authority::ports::{
    Commit, Entropy, LogUpdate, Outcome, RecordKey, RecordKind, Seen, Store, StoreError, Stored, Version,
};
use crate::domain::revocation::Revision;

const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 5;

/// Seals what goes into a store, opens what comes out.
#[derive(Debug)]
pub struct SealedStore {
    inner: Arc<dyn Store>,
    keyring: Keyring,
}

impl SealedStore {
    /// Opens the store's vault with one of the keys, or makes one with the first if there is none.
    pub async fn open(
        store: Arc<dyn Store>,
        keks: &[KeyEncryptionKey],
        entropy: &dyn Entropy,
    ) -> Result<Self, VaultError> {
        let keyring = Keyring::open(&*store, keks, entropy).await?;
        Ok(Self { inner: store, keyring })
    }

    fn seal(&self, key: &RecordKey, version: Version, plain: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let key = key.to_bytes();
        let data_key = self.keyring.current();
        let cipher = self.keyring.record_key(data_key, &key)?;
        // Room for all: it holds the plaintext for a moment, which a larger buffer would leave behind.
        let mut sealed = Zeroizing::new(Vec::with_capacity(HEAD_BYTES + plain.len() + 16));
        sealed.push(FORMAT);
        sealed.extend_from_slice(&data_key.to_be_bytes());
        let associated = associated(&sealed, &key, version);
        sealed.extend_from_slice(plain);
        let tag = cipher.seal_in_place_separate_tag(nonce(version), associated, &mut sealed[HEAD_BYTES..]).ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed)
    }
}

/// Opens a record as it is kept; the error says that it is not what was sealed.
pub(super) fn unseal(keyring: &Keyring, key: &RecordKey, mut stored: Stored) -> Result<Stored, StoreError> {
    let key = key.to_bytes();
    let (head, sealed) =
        stored.bytes.split_first_chunk_mut::<HEAD_BYTES>().ok_or_else(|| damaged("is shorter than its head"))?;
    let [format, data_key @ ..] = *head;
    if format != FORMAT {
        return Err(damaged("has a format that this version does not know"));
    }
    let cipher = keyring.record_key(u32::from_be_bytes(data_key), &key);
    let cipher = cipher.ok_or_else(|| damaged("is sealed with a data key that the vault does not have"))?;
    let opened = cipher.open_in_place(nonce(stored.version), associated(head, &key, stored.version), sealed);
    let length = opened.map_err(|_| damaged("was not sealed as this record in this version"))?.len();
    stored.bytes.truncate(HEAD_BYTES + length);
    stored.bytes.drain(..HEAD_BYTES);
    Ok(stored)
}

fn damaged(problem: &str) -> StoreError {
    StoreError::Corrupt(format!("a record {problem}").into())
}

fn nonce(version: Version) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&version.0[..NONCE_LEN]);
    Nonce::assume_unique_for_key(nonce)
}

fn associated(head: &[u8], key: &[u8], version: Version) -> Aad<Vec<u8>> {
    let mut data = Vec::with_capacity(head.len() + version.0.len() + key.len());
    data.extend_from_slice(head);
    data.extend_from_slice(&version.0);
    data.extend_from_slice(key);
    Aad::from(data)
}

/// The vault is not a record of anybody above: sealed with its own keys it could never be opened.
fn refuse_vault(key: &RecordKey) -> Result<(), StoreError> {
    match key.kind() {
        RecordKind::Vault => Err(StoreError::Unavailable("the vault is the store's own".into())),
        RecordKind::Realm | RecordKind::Subject | RecordKind::ClientAssertion | RecordKind::Code => Ok(()),
    }
}

#[async_trait]
impl Store for SealedStore {
    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn partition(&self, key: &RecordKey) -> u16 {
        self.inner.partition(key)
    }

    async fn load(&self, key: &RecordKey) -> Result<Option<Stored>, StoreError> {
        refuse_vault(key)?;
        self.inner.load(key).await?.map(|stored| unseal(&self.keyring, key, stored)).transpose()
    }

    async fn commit(&self, commit: &Commit) -> Result<Outcome, StoreError> {
        refuse_vault(&commit.key)?;
        let sealed = self.seal(&commit.key, commit.id, &commit.bytes);
        let bytes = sealed.ok_or_else(|| StoreError::Unavailable("the record can't be sealed".into()))?;
        let sealed = Commit {
            id: commit.id,
            key: commit.key.clone(),
            expected: commit.expected,
            bytes,
            expires: commit.expires,
            revocations: commit.revocations.clone(),
        };
        self.inner.commit(&sealed).await
    }

    async fn proof(&self, key: &RecordKey) -> Result<Revision, StoreError> {
        self.inner.proof(key).await
    }

    async fn follow(&self) -> Result<mpsc::Receiver<LogUpdate>, StoreError> {
        self.inner.follow().await
    }

    async fn watch(&self, key: &RecordKey) -> Result<watch::Receiver<Seen>, StoreError> {
        self.inner.watch(key).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready().await
    }
}
