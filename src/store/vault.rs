//! The vault record: the data keys, each sealed by the key-encryption key. Knows how they are kept and
//! which record key follows from them, not what is sealed with it.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use prost::Message as _;
use zeroize::Zeroizing;

use super::key_encryption_key::{Created, KEY_BYTES, KeyEncryptionKey, KeyEncryptionKeyId, KeyFileError};
use crate::authority::ports::{Commit, Entropy, Outcome, RecordKey, Store, StoreError, Stored, Version};

const FORMAT: u8 = 1;
/// In place of a vault while a store is being copied into: no server starts on half of one.
pub(super) const UNFINISHED: [u8; 1] = [0];

/// Two servers that start on one empty store race for the vault; more rounds than that mean trouble.
const ROUNDS: usize = 8;

/// Why the store's content can't be read, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// None of the keys given is the one.
    #[error(
        "wrong key-encryption key: the store's data is sealed with key {needed}, given was {}; nothing was changed. \
         Start with the key file that this store was made with (from the backup, if it was lost); \
         without it the data can't be read, and only an empty store can be started with another key",
        names(.given)
    )]
    WrongKey {
        /// The key that sealed the data keys.
        needed: KeyEncryptionKeyId,
        /// The keys given.
        given: Vec<KeyEncryptionKeyId>,
    },
    /// The key's file is gone, the store is not.
    #[error(
        "the key file {} is missing, and the store's data is sealed with its key {needed}; nothing was changed. \
         Put the file back (from the backup, if it was lost); without it the data can't be read, and only \
         an empty store can be started with another key",
        .path.display()
    )]
    KeyLost {
        /// Where the file should be.
        path: PathBuf,
        /// The key that sealed the data keys.
        needed: KeyEncryptionKeyId,
    },
    /// No key was given.
    #[error("no key-encryption key was given; name a key file")]
    NoKey,
    /// A copy into this store was begun and not finished.
    #[error(
        "a copy into this store was not finished, so it is not a whole store: remove it, and copy again into an \
         empty directory, or under another prefix of Redis"
    )]
    Unfinished,
    /// The vault is not as it was written.
    #[error("the store's vault is damaged ({0}); restore the store from a backup")]
    Damaged(&'static str),
    /// Something about the key's file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn names(ids: &[KeyEncryptionKeyId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Reads the key for a store from its file, or makes one if neither the file nor a vault is there.
/// A store that has a vault never gets another key.
pub async fn key_for(
    store: &dyn Store,
    path: &Path,
    entropy: &dyn Entropy,
) -> Result<(KeyEncryptionKey, Created), VaultError> {
    match KeyEncryptionKey::load(path) {
        Err(KeyFileError::Missing { .. }) => {}
        loaded => return Ok((loaded?, Created::Existing)),
    }
    if let Some(stored) = store.load(&RecordKey::VAULT).await? {
        let needed = decode(&stored)?.needed().ok_or(VaultError::Damaged("it has no keys"))?;
        return Err(VaultError::KeyLost { path: path.into(), needed });
    }
    Ok(KeyEncryptionKey::load_or_create(path, entropy)?)
}

/// Seals the data keys anew with the first of the keys, so that the others can be retired. Says
/// whether there was anything to do.
pub async fn rewrap(store: &dyn Store, keks: &[KeyEncryptionKey], entropy: &dyn Entropy) -> Result<bool, VaultError> {
    let current = keks.first().ok_or(VaultError::NoKey)?;
    for _ in 0..ROUNDS {
        let stored = store.load(&RecordKey::VAULT).await?.ok_or(VaultError::Damaged("it is not there"))?;
        let vault = decode(&stored)?;
        if vault.keys.iter().all(|key| key.kek_id == current.id().0) {
            return Ok(false);
        }
        let keys = vault.keys.iter().map(|key| seal(key.id, &*unseal(key, keks)?, current, entropy));
        let keys = keys.collect::<Result<_, _>>()?;
        if write(store, Some(stored.version), &VaultRecord { keys }, entropy).await? {
            return Ok(true);
        }
    }
    Err(StoreError::Unavailable("others keep changing the vault".into()).into())
}

/// A vault with the same data keys, each sealed by another key.
pub(super) fn resealed(
    stored: &Stored,
    from: &KeyEncryptionKey,
    to: &KeyEncryptionKey,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, VaultError> {
    let vault = decode(stored)?;
    let from = std::slice::from_ref(from);
    let keys = vault.keys.iter().map(|key| seal(key.id, &*unseal(key, from)?, to, entropy));
    Ok(encode(&VaultRecord { keys: keys.collect::<Result<_, _>>()? }))
}

/// The data keys, opened. The one with the highest id seals, all of them open.
pub(super) struct Keyring(Vec<DataKey>);

struct DataKey {
    id: u32,
    /// Extracted once; wipes itself when dropped.
    secret: hkdf::Prk,
}

impl Keyring {
    /// Opens the vault, or makes one in a store that has none.
    pub(super) async fn open(
        store: &dyn Store,
        keks: &[KeyEncryptionKey],
        entropy: &dyn Entropy,
    ) -> Result<Self, VaultError> {
        let current = keks.first().ok_or(VaultError::NoKey)?;
        for _ in 0..ROUNDS {
            if let Some(stored) = store.load(&RecordKey::VAULT).await? {
                return Self::unseal(&decode(&stored)?, keks);
            }
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            entropy.fill(&mut *key);
            let vault = VaultRecord { keys: vec![seal(1, &key, current, entropy)?] };
            write(store, None, &vault, entropy).await?;
        }
        Err(StoreError::Unavailable("others keep changing the vault".into()).into())
    }

    /// Opens a vault that was read.
    pub(super) fn of(stored: &Stored, kek: &KeyEncryptionKey) -> Result<Self, VaultError> {
        Self::unseal(&decode(stored)?, std::slice::from_ref(kek))
    }

    fn unseal(vault: &VaultRecord, keks: &[KeyEncryptionKey]) -> Result<Self, VaultError> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"token-authority data key");
        let open = |key: &SealedDataKey| {
            let secret = unseal(key, keks)?;
            Ok(DataKey { id: key.id, secret: salt.extract(&*secret) })
        };
        let mut keys = vault.keys.iter().map(open).collect::<Result<Vec<_>, VaultError>>()?;
        keys.sort_by_key(|key| key.id);
        if keys.is_empty() {
            return Err(VaultError::Damaged("it has no keys"));
        }
        Ok(Self(keys))
    }

    /// The id of the key that seals.
    pub(super) fn current(&self) -> u32 {
        self.0.last().map_or(0, |key| key.id)
    }

    /// The key for one record, from one data key; `None` if there is no such data key. Derived
    /// each time: derivation and opening take 1 µs together, less than a cache would be worth.
    pub(super) fn record_key(&self, data_key: u32, record: &[u8]) -> Option<LessSafeKey> {
        let key = self.0.iter().find(|key| key.id == data_key)?;
        // A record key's bytes name its kind, id and realm without ambiguity.
        let derived = key.secret.expand(&[b"token-authority record\0", record], &AES_256_GCM).ok()?.into();
        Some(LessSafeKey::new(derived))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} data keys)", self.0.len())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct VaultRecord {
    #[prost(message, repeated, tag = "1")]
    keys: Vec<SealedDataKey>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SealedDataKey {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(bytes = "vec", tag = "2")]
    kek_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    nonce: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    sealed: Vec<u8>,
}

impl VaultRecord {
    fn needed(&self) -> Option<KeyEncryptionKeyId> {
        self.keys.first().map(SealedDataKey::kek_id)
    }
}

impl SealedDataKey {
    fn kek_id(&self) -> KeyEncryptionKeyId {
        KeyEncryptionKeyId(self.kek_id.as_slice().try_into().unwrap_or_default())
    }
}

fn encode(vault: &VaultRecord) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(&vault.encode_to_vec());
    bytes
}

fn decode(stored: &Stored) -> Result<VaultRecord, VaultError> {
    match stored.bytes.split_first() {
        Some((&FORMAT, body)) => VaultRecord::decode(body).map_err(|_| VaultError::Damaged("it is no vault")),
        Some((&0, [])) => Err(VaultError::Unfinished),
        Some(_) => Err(VaultError::Damaged("this version does not know its format")),
        None => Err(VaultError::Damaged("it is empty")),
    }
}

/// Whether it was written; otherwise somebody else was faster.
async fn write(
    store: &dyn Store,
    expected: Option<Version>,
    vault: &VaultRecord,
    entropy: &dyn Entropy,
) -> Result<bool, VaultError> {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    let (id, bytes) = (Version(id), encode(vault).into());
    let commit = Commit { id, key: RecordKey::VAULT, expected, bytes, expires: None, revocations: Vec::new() };
    Ok(matches!(store.commit(&commit).await?, Outcome::Committed(_)))
}

fn seal(
    id: u32,
    key: &[u8; KEY_BYTES],
    kek: &KeyEncryptionKey,
    entropy: &dyn Entropy,
) -> Result<SealedDataKey, VaultError> {
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce);
    // Room for the tag: a buffer that grows would leave the key behind.
    let mut sealed = Vec::with_capacity(KEY_BYTES + AES_256_GCM.tag_len());
    sealed.extend_from_slice(key);
    cipher(kek)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated(id, kek.id()), &mut sealed)
        .map_err(|_| VaultError::Damaged("its key can't be sealed"))?;
    Ok(SealedDataKey { id, kek_id: kek.id().0.to_vec(), nonce: nonce.to_vec(), sealed })
}

fn unseal(key: &SealedDataKey, keks: &[KeyEncryptionKey]) -> Result<Zeroizing<[u8; KEY_BYTES]>, VaultError> {
    let kek = keks.iter().find(|kek| kek.id() == key.kek_id());
    let given = || keks.iter().map(KeyEncryptionKey::id).collect();
    let kek = kek.ok_or_else(|| VaultError::WrongKey { needed: key.kek_id(), given: given() })?;
    let damaged = VaultError::Damaged("a data key is not as it was sealed");
    let Ok(nonce) = Nonce::try_assume_unique_for_key(&key.nonce) else { return Err(damaged) };
    let mut bytes = Zeroizing::new(key.sealed.clone());
    match cipher(kek)?.open_in_place(nonce, associated(key.id, kek.id()), &mut bytes) {
        Ok(opened) => <&[u8; KEY_BYTES]>::try_from(&*opened).map(|key| Zeroizing::new(*key)).map_err(|_| damaged),
        Err(_) => Err(damaged),
    }
}

fn cipher(kek: &KeyEncryptionKey) -> Result<LessSafeKey, VaultError> {
    let key = UnboundKey::new(&AES_256_GCM, kek.bytes());
    key.map(LessSafeKey::new).map_err(|_| VaultError::Damaged("the key-encryption key has the wrong length"))
}

fn associated(id: u32, kek: KeyEncryptionKeyId) -> Aad<Vec<u8>> {
    let mut data = b"token-authority vault\0".to_vec();
    data.extend_from_slice(&id.to_be_bytes());
    data.extend_from_slice(&kek.0);
    Aad::from(data)
}
