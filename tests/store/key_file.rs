//! The key-encryption key's file: who may read it, what it may hold, how it is made.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use tempfile::TempDir;
use token_authority::store::key_encryption_key::{Created, KeyEncryptionKey, KeyFileError};

use super::fixtures::{SeededEntropy, kek};

fn file(text: &str, mode: u32) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("kek");
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
    (directory, path)
}

fn refusal(path: &Path) -> (KeyFileError, String) {
    let error = KeyEncryptionKey::load(path).expect_err("no key");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    (error, text)
}

#[test]
fn both_ways_to_write_a_key_are_read() {
    let expected = kek(0x5a).id();
    let hex = "5a".repeat(32);
    let base64url = "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo";
    for text in [&hex, &hex.to_uppercase(), base64url, &format!("{base64url}="), &format!(" {base64url}\r\n")] {
        for mode in [0o600, 0o400] {
            let (_directory, path) = file(text, mode);
            assert_eq!(KeyEncryptionKey::load(&path).expect("a key").id(), expected, "{text}");
        }
    }
}

#[test]
fn a_file_that_others_may_use_is_refused_with_the_remedy() {
    for mode in [0o640, 0o604, 0o660, 0o644, 0o610, 0o777] {
        let (_directory, path) = file(&"5a".repeat(32), mode);
        let (error, text) = refusal(&path);
        assert!(matches!(error, KeyFileError::Exposed { .. }), "{text}");
        assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let long = "a".repeat(1 << 20);
    for text in ["", "\n", "secret", &"5a".repeat(31), &"5g".repeat(32), &"5a".repeat(33), &"!".repeat(43), &long] {
        let (_directory, path) = file(text, 0o600);
        let (error, text) = refusal(&path);
        assert!(matches!(error, KeyFileError::Malformed { .. }), "{text}");
        assert!(text.contains("32 random bytes"), "{text}");
    }
    let (directory, path) = file("", 0o600);
    assert!(matches!(refusal(&path.join("below")).0, KeyFileError::Io { .. }));
    assert!(matches!(refusal(&directory.path().join("none")).0, KeyFileError::Missing { .. }));
}

#[test]
fn a_new_key_is_private_and_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("kek");
    let entropy = SeededEntropy::named("kek");
    let (key, created) = KeyEncryptionKey::load_or_create(&path, &*entropy).expect("a key");
    assert_eq!(created, Created::New);
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
    let (again, created) = KeyEncryptionKey::load_or_create(&path, &*entropy).expect("a key");
    assert_eq!((again.id(), created), (key.id(), Created::Existing));
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 1, "a draft was left");
    let missing = directory.path().join("none").join("kek");
    let text = KeyEncryptionKey::load_or_create(&missing, &*entropy).expect_err("no directory").to_string();
    assert!(text.contains(&missing.display().to_string()), "{text}");
}

#[test]
fn of_many_that_make_it_at_once_all_have_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("kek");
    let start = Barrier::new(8);
    let keys: Vec<_> = std::thread::scope(|scope| {
        let make = |seed: usize| {
            let entropy = SeededEntropy::named(&seed.to_string());
            start.wait();
            KeyEncryptionKey::load_or_create(&path, &*entropy).expect("a key")
        };
        let threads: Vec<_> = (0..8).map(|seed| scope.spawn(move || make(seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    assert!(keys.iter().all(|(key, _)| key.id() == keys[0].0.id()));
    assert_eq!(keys.iter().filter(|(_, created)| *created == Created::New).count(), 1);
}
