//! One server a directory, and errors that say what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use token_authority::authority::ports::Store as _;
use token_authority::store::embedded::{EmbeddedStore, OpenError};

use super::fixtures::{NOON, SeededEntropy, TurnedClock, commit, fresh_key, open};

fn refusal(directory: &Path) -> (OpenError, String) {
    let opened = EmbeddedStore::open(directory, TurnedClock::at(NOON), SeededEntropy::named("lock"));
    let error = opened.expect_err("a refusal");
    let text = error.to_string();
    (error, text)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn a_second_server_is_refused_until_the_first_has_closed() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = TurnedClock::at(NOON);
    for _ in 0..3 {
        let first = open(directory.path(), &clock);
        let (error, text) = refusal(directory.path());
        assert!(matches!(error, OpenError::InUse { .. }), "{text}");
        assert!(text.contains(&directory.path().display().to_string()) && text.contains("--store"), "{text}");
        first.close();
    }
    drop(open(directory.path(), &clock));
}

#[test]
fn of_many_that_start_at_once_in_an_empty_directory_one_gets_it() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().expect("a directory");
        let (start, end) = (Barrier::new(6), Barrier::new(6));
        let open = || {
            start.wait();
            let opened = EmbeddedStore::open(directory.path(), TurnedClock::at(NOON), SeededEntropy::named("lock"));
            // Nobody closes before everybody has tried.
            end.wait();
            match opened {
                Ok(_) => 1,
                Err(OpenError::InUse { .. }) => 0,
                Err(other) => panic!("{other}"),
            }
        };
        let opened: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
        });
        assert_eq!(opened, 1);
    }
}

#[test]
fn it_makes_its_directory_and_lets_nobody_else_in() {
    let above = tempfile::tempdir().expect("a directory");
    let directory = above.path().join("a").join("b");
    drop(open(&directory, &TurnedClock::at(NOON)));
    assert_eq!(mode(&directory), 0o700);
    for file in fs::read_dir(&directory).expect("the directory") {
        let path = file.expect("a file").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_path_below_a_file_names_the_file() {
    let above = tempfile::tempdir().expect("a directory");
    let file = above.path().join("file");
    fs::write(&file, "not a directory").expect("a file");
    for directory in [file.clone(), file.join("store"), file.join("deep").join("store")] {
        let (error, text) = refusal(&directory);
        assert!(matches!(error, OpenError::NotADirectory { .. }), "{text}");
        assert!(text.contains(&format!("{} is not a directory", file.display())), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.redb");
    let store = open(directory.path(), &TurnedClock::at(NOON));
    store.commit(&commit(&fresh_key(), None, &[7; 9000])).await.expect("an outcome");
    drop(store);
    let whole = fs::read(&file).expect("a store");
    let cut = whole[..whole.len() / 2].to_vec();
    for bytes in [b"plain text".to_vec(), vec![0; 100_000], vec![0xff; 100_000], cut, whole[..300].to_vec()] {
        fs::write(&file, &bytes).expect("a file");
        let (error, text) = refusal(directory.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
        assert!(text.contains(&file.display().to_string()) && text.contains("backup"), "{text}");
        assert_eq!(fs::read(&file).expect("a file"), bytes);
    }
}

#[test]
fn a_store_of_another_format_or_program_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.redb");
    drop(open(directory.path(), &TurnedClock::at(NOON)));
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    let change = |format: Option<u32>| {
        let database = redb::Database::open(&file).expect("the file");
        let transaction = database.begin_write().expect("a transaction");
        let mut table = transaction.open_table(meta).expect("a table");
        match format {
            Some(format) => drop(table.insert("format", format.to_be_bytes().as_slice()).expect("a change")),
            None => drop(table.remove("format").expect("a change")),
        }
        drop(table);
        transaction.commit().expect("a change");
    };
    change(Some(7));
    let (error, text) = refusal(directory.path());
    assert!(matches!(error, OpenError::Format { .. }), "{text}");
    assert!(text.contains("format 7") && text.contains("format 1"), "{text}");
    change(None);
    let (error, text) = refusal(directory.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
    change(Some(1));
    drop(open(directory.path(), &TurnedClock::at(NOON)));
}

/// A server that was stopped while it made its store can make it at the next start.
#[test]
fn a_store_that_was_half_made_is_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("store.redb.new"), vec![0x5a; 5000]).expect("a draft");
    drop(open(directory.path(), &TurnedClock::at(NOON)));
    assert!(!directory.path().join("store.redb.new").exists());
}

const NOBODY: u32 = 65_534;

/// Root may write anywhere, so this runs the next test as somebody who may not.
#[test]
fn without_permission_it_names_the_path() {
    let above = tempfile::tempdir().expect("a directory");
    let closed = above.path().join("closed");
    fs::create_dir(&closed).expect("a directory");
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).expect("a mode");
    fs::set_permissions(above.path(), Permissions::from_mode(0o755)).expect("a mode");
    let program = above.path().join("program");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy");
    let mut command = Command::new(&program);
    command.args(["--exact", "lock::as_somebody_without_permission", "--ignored"]).current_dir(above.path());
    if fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0) {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().expect("a run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by without_permission_it_names_the_path"]
fn as_somebody_without_permission() {
    for directory in ["closed", "closed/store"] {
        let (error, text) = refusal(Path::new(directory));
        assert!(matches!(error, OpenError::Permission { .. }), "{text}");
        assert!(text.contains("no permission") && text.contains("closed") && text.contains("--store"), "{text}");
    }
}
