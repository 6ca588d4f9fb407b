//! The directory and the file that the embedded store lives in: made with the right modes, locked, or
//! refused with an error for people. Knows nothing of what the file holds.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The store's file in its directory.
const FILE_NAME: &str = "store.redb";
/// The same while it is made.
const DRAFT_NAME: &str = "store.redb.new";
/// Locked by the server that uses the directory.
const LOCK_NAME: &str = "lock";

/// Why the store can't be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A part of the path is no directory.
    #[error("the store can't be at {}: {} is not a directory; choose another --store", .store.display(), .file.display())]
    NotADirectory {
        /// The path asked for.
        store: PathBuf,
        /// What is in the way.
        file: PathBuf,
    },
    /// The process may not use it.
    #[error(
        "no permission to read and write {}; give it to the user that runs the server, or choose another --store",
        .path.display()
    )]
    Permission {
        /// The directory or file.
        path: PathBuf,
    },
    /// Nothing was ever stored there.
    #[error("there is no store in {}", .directory.display())]
    Absent {
        /// Where it should be.
        directory: PathBuf,
    },
    /// Another process has it open.
    #[error(
        "the store in {} is in use by another server; stop that server, or choose another --store",
        .directory.display()
    )]
    InUse {
        /// The store's directory.
        directory: PathBuf,
    },
    /// The file was written by a version with another layout.
    #[error(
        "{} has {found}, this version needs format {expected}; use the version that wrote it, or choose another --store",
        .path.display()
    )]
    Format {
        /// The store's file.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What this version reads.
        expected: u32,
    },
    /// The file is not a store, or no longer.
    #[error(
        "{} is damaged or no store ({detail}); move it away and restore it from a backup, or choose another --store",
        .path.display()
    )]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What the engine says.
        detail: String,
    },
    /// Anything else that the system refused.
    #[error("can't open the store at {}: {source}", .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A directory that no other server may use while this exists.
pub(super) struct OwnDirectory {
    directory: PathBuf,
    /// Held, not read: the lock goes when the file is closed, even by `kill -9`.
    _lock: File,
}

impl OwnDirectory {
    /// Takes the directory if a store is in it; makes nothing.
    pub(super) fn take_existing(directory: &Path) -> Result<Self, OpenError> {
        if directory.join(FILE_NAME).exists() {
            return Self::take(directory);
        }
        Err(OpenError::Absent { directory: directory.into() })
    }

    /// Makes the directory if it is missing, and takes it.
    pub(super) fn take(directory: &Path) -> Result<Self, OpenError> {
        create_directory(directory).map_err(|error| refused(directory, directory, error))?;
        let path = directory.join(LOCK_NAME);
        let lock = open_private(&path, Existing::Kept).map_err(|error| refused(directory, &path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { directory: directory.into() }),
            Err(TryLockError::Error(error)) => Err(refused(directory, &path, error)),
        }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    /// Opens the store's file. A new one is filled under another name and then put in place: a power
    /// cut meanwhile leaves no file, instead of one that can't be told from a damaged store.
    pub(super) fn open_file(&self, fill: impl FnOnce(File) -> Result<(), OpenError>) -> Result<File, OpenError> {
        let path = self.file();
        let refused = |error| refused(&self.directory, &path, error);
        if !path.exists() {
            let draft = self.directory.join(DRAFT_NAME);
            let file = open_private(&draft, Existing::Emptied).map_err(refused)?;
            fill(file.try_clone().map_err(refused)?)?;
            file.sync_all().map_err(refused)?;
            fs::rename(&draft, &path).map_err(refused)?;
            sync_directory(&self.directory).map_err(refused)?;
        }
        open_private(&path, Existing::Kept).map_err(refused)
    }
}

#[derive(Clone, Copy)]
enum Existing {
    Kept,
    Emptied,
}

fn open_private(path: &Path, existing: Existing) -> io::Result<File> {
    let truncate = matches!(existing, Existing::Emptied);
    OpenOptions::new().read(true).write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

/// Each new directory is synced into its parent, or a power cut could take the store with it.
fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(parent),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn refused(store: &Path, path: &Path, error: io::Error) -> OpenError {
    let in_the_way = store.ancestors().find(|part| part.exists()).filter(|part| !part.is_dir());
    match (in_the_way, error.kind()) {
        (Some(file), _) => OpenError::NotADirectory { store: store.into(), file: file.into() },
        (None, io::ErrorKind::PermissionDenied) => OpenError::Permission { path: path.into() },
        (None, _) => OpenError::Io { path: path.into(), source: error },
    }
}
