//! What is sealed stays sealed: nothing readable at rest, nothing opens in another place, and without
//! the key nothing changes.

use std::sync::Arc;

use futures::future::join;
use tempfile::TempDir;
use token_authority::authority::ports::{Commit, RecordKey, Store, StoreError, Version};
use token_authority::domain::ids::SubjectKey;
use token_authority::store::embedded::EmbeddedStore;
use token_authority::store::key_encryption_key::{Created, KeyEncryptionKey};
use token_authority::store::sealing::SealedStore;
use token_authority::store::vault::{self, VaultError};

use super::fixtures::{NOON, SeededEntropy, TurnedClock, commit, fresh, fresh_key, kek, open, realm, revoking};

const PLANTED: &[u8] = b"planted-secret-7e4f0c";

/// A store, and what is below its seal.
struct Both {
    sealed: SealedStore,
    bare: Arc<EmbeddedStore>,
    directory: TempDir,
}

async fn seal(bare: &Arc<EmbeddedStore>, keks: &[KeyEncryptionKey]) -> Result<SealedStore, VaultError> {
    SealedStore::open(bare.clone(), keks, &*SeededEntropy::named(&format!("{:?}", fresh()))).await
}

async fn both() -> Both {
    let directory = tempfile::tempdir().expect("a directory");
    let bare = Arc::new(open(directory.path(), &TurnedClock::at(NOON)));
    Both { sealed: seal(&bare, &[kek(1)]).await.expect("an open vault"), bare, directory }
}

impl Both {
    async fn put(&self, key: &RecordKey, bytes: &[u8]) -> Commit {
        let commit = commit(key, None, bytes);
        self.sealed.commit(&commit).await.expect("an outcome");
        commit
    }

    async fn raw(&self, key: &RecordKey) -> Vec<u8> {
        self.bare.load(key).await.expect("an answer").expect("a record").bytes.to_vec()
    }

    /// Puts bytes below the seal, under a version of the attacker's choice.
    async fn plant(&self, key: &RecordKey, version: Version, bytes: Vec<u8>) {
        let expected = self.bare.load(key).await.expect("an answer").map(|stored| stored.version);
        let mut commit = commit(key, expected, &bytes);
        if expected == Some(version) {
            // The store takes one id once: by way of another version.
            self.bare.commit(&commit).await.expect("an outcome");
            commit.expected = Some(commit.id);
        }
        commit.id = version;
        self.bare.commit(&commit).await.expect("an outcome");
    }

    async fn is_corrupt(&self, key: &RecordKey) -> bool {
        matches!(self.sealed.load(key).await, Err(StoreError::Corrupt(_)))
    }
}

fn dump_contains(directory: &TempDir, planted: &[u8]) -> bool {
    let files = std::fs::read_dir(directory.path()).expect("the directory");
    files
        .map(|file| std::fs::read(file.expect("a file").path()).expect("its bytes"))
        .any(|bytes| bytes.windows(planted.len()).any(|window| window == planted))
}

#[tokio::test]
async fn a_dump_of_the_store_shows_nothing_planted() {
    let both = both().await;
    let key = fresh_key();
    let first = both.put(&key, PLANTED).await;
    let large = [PLANTED, &[0; 20_000], PLANTED].concat();
    both.sealed.commit(&revoking(&key, Some(first.id), &large)).await.expect("an outcome");
    both.put(&RecordKey::realm(realm("web")), PLANTED).await;
    assert_eq!(*both.sealed.load(&key).await.expect("an answer").expect("a record").bytes, large);
    both.bare.close();
    assert!(!dump_contains(&both.directory, PLANTED));
    assert!(!dump_contains(&both.directory, &[1; 32]), "the key-encryption key");

    // The search itself works: without the seal it finds the same value.
    let directory = tempfile::tempdir().expect("a directory");
    let bare = open(directory.path(), &TurnedClock::at(NOON));
    bare.commit(&commit(&key, None, PLANTED)).await.expect("an outcome");
    bare.close();
    assert!(dump_contains(&directory, PLANTED));
}

#[tokio::test]
async fn a_record_moved_elsewhere_does_not_open() {
    let both = both().await;
    let id = SubjectKey(fresh());
    let (here, there) = (RecordKey::subject(realm("here"), id), RecordKey::subject(realm("there"), id));
    let mine = both.put(&here, b"mine").await;
    both.put(&there, b"yours").await;
    let raw = both.raw(&here).await;

    // Of another realm, another subject, another kind; each with the right version.
    for elsewhere in [there, fresh_key(), RecordKey::realm(realm("here"))] {
        both.plant(&elsewhere, mine.id, raw.clone()).await;
        assert!(both.is_corrupt(&elsewhere).await, "{elsewhere:?}");
    }
    // Under another version: the whole, and the part that the nonce leaves out.
    let mut similar = mine.id;
    similar.0[15] ^= 1;
    for version in [Version(fresh()), similar] {
        both.plant(&here, version, raw.clone()).await;
        assert!(both.is_corrupt(&here).await);
    }
    // Back in its place it opens.
    both.plant(&here, mine.id, raw).await;
    assert_eq!(*both.sealed.load(&here).await.expect("an answer").expect("a record").bytes, b"mine");
}

#[tokio::test]
async fn no_flipped_bit_and_no_cut_goes_unnoticed() {
    let both = both().await;
    let key = fresh_key();
    let commit = both.put(&key, b"short").await;
    let raw = both.raw(&key).await;
    for bit in 0..raw.len() * 8 {
        let mut damaged = raw.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        both.plant(&key, commit.id, damaged).await;
        assert!(both.is_corrupt(&key).await, "bit {bit}");
    }
    for length in 0..raw.len() {
        both.plant(&key, commit.id, raw[..length].to_vec()).await;
        assert!(both.is_corrupt(&key).await, "cut to {length}");
    }
}

/// Even under one version, and so one nonce: each record has a key of its own.
#[tokio::test]
async fn the_same_content_in_two_records_is_two_ciphertexts() {
    let both = both().await;
    let first = both.put(&fresh_key(), PLANTED).await;
    let second = Commit { key: fresh_key(), ..first.clone() };
    both.sealed.commit(&second).await.expect("an outcome");
    let (one, other) = (both.raw(&first.key).await, both.raw(&second.key).await);
    let content = 5..5 + PLANTED.len();
    assert_ne!(one[content.clone()], other[content]);
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_changes_nothing() {
    let both = both().await;
    let before = both.raw(&RecordKey::VAULT).await;
    let error = seal(&both.bare, &[kek(2)]).await.expect_err("a wrong key");
    let text = error.to_string();
    assert!(matches!(error, VaultError::WrongKey { .. }), "{text}");
    for part in ["wrong key-encryption key", &kek(1).id().to_string(), &kek(2).id().to_string(), "backup"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    assert_eq!(both.raw(&RecordKey::VAULT).await, before);
    assert!(matches!(seal(&both.bare, &[]).await, Err(VaultError::NoKey)));
}

#[tokio::test]
async fn a_lost_key_file_is_not_replaced_where_there_is_data() {
    let both = both().await;
    let path = both.directory.path().join("kek");
    let entropy = SeededEntropy::named("lost");
    let error = vault::key_for(&*both.bare, &path, &*entropy).await.expect_err("a lost key");
    let text = error.to_string();
    assert!(matches!(error, VaultError::KeyLost { .. }), "{text}");
    assert!(text.contains(&path.display().to_string()) && text.contains(&kek(1).id().to_string()), "{text}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_new_store_gets_a_key_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let bare = Arc::new(open(directory.path(), &TurnedClock::at(NOON)));
    let path = directory.path().join("kek");
    let entropy = SeededEntropy::named("new");
    let (first, created) = vault::key_for(&*bare, &path, &*entropy).await.expect("a key");
    assert_eq!(created, Created::New);
    seal(&bare, &[first]).await.expect("an open vault");
    let (second, created) = vault::key_for(&*bare, &path, &*entropy).await.expect("a key");
    assert_eq!(created, Created::Existing);
    seal(&bare, &[second]).await.expect("an open vault");
}

#[tokio::test]
async fn keys_are_exchanged_without_a_gap() {
    let both = both().await;
    let key = fresh_key();
    both.put(&key, b"kept").await;
    let entropy = SeededEntropy::named("rewrap");
    // Before: the old one opens beside the new one. After: the new one alone.
    seal(&both.bare, &[kek(2), kek(1)]).await.expect("two keys");
    let refused = vault::rewrap(&*both.bare, &[kek(2)], &*entropy).await;
    assert!(matches!(refused, Err(VaultError::WrongKey { .. })));
    assert!(vault::rewrap(&*both.bare, &[kek(2), kek(1)], &*entropy).await.expect("rewrapped"));
    assert!(!vault::rewrap(&*both.bare, &[kek(2), kek(1)], &*entropy).await.expect("nothing to do"));
    assert!(matches!(seal(&both.bare, &[kek(1)]).await, Err(VaultError::WrongKey { .. })));
    let sealed = seal(&both.bare, &[kek(2)]).await.expect("the new key");
    assert_eq!(*sealed.load(&key).await.expect("an answer").expect("a record").bytes, b"kept");
}

#[tokio::test]
async fn two_servers_that_make_the_vault_at_once_share_one() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().expect("a directory");
        let bare = Arc::new(open(directory.path(), &TurnedClock::at(NOON)));
        let (one, other) = join(seal(&bare, &[kek(1)]), seal(&bare, &[kek(1)])).await;
        let (one, other) = (one.expect("a vault"), other.expect("a vault"));
        let commit = commit(&fresh_key(), None, b"shared");
        one.commit(&commit).await.expect("an outcome");
        assert_eq!(*other.load(&commit.key).await.expect("an answer").expect("a record").bytes, b"shared");
    }
}

#[tokio::test]
async fn a_vault_that_was_changed_does_not_open() {
    let both = both().await;
    let version = both.bare.load(&RecordKey::VAULT).await.expect("an answer").expect("a vault").version;
    let raw = both.raw(&RecordKey::VAULT).await;
    for bit in 0..raw.len() * 8 {
        let mut damaged = raw.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        both.plant(&RecordKey::VAULT, version, damaged).await;
        assert!(seal(&both.bare, &[kek(1)]).await.is_err(), "bit {bit}");
    }
}

#[tokio::test]
async fn nobody_above_reaches_the_vault() {
    let both = both().await;
    assert!(both.sealed.load(&RecordKey::VAULT).await.is_err());
    assert!(both.sealed.commit(&commit(&RecordKey::VAULT, None, b"")).await.is_err());
    assert!(!format!("{:?} {:?}", both.sealed, kek(0xab)).contains("ab, ab"));
}
