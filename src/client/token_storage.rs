//! Where a refresh token waits while its process does not run. One process a place: two would use up
//! each other's tokens.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// Keeps one refresh token. May block: it is called where that holds nothing up.
pub trait TokenStorage: Send + Sync + fmt::Debug + 'static {
    /// The token that was saved last, if any.
    fn load(&self) -> io::Result<Option<Zeroizing<String>>>;

    /// Replaces the token. Once this has returned, the earlier one may be used up.
    fn save(&self, refresh_token: &str) -> io::Result<()>;

    /// Forgets the token.
    fn clear(&self) -> io::Result<()>;
}

/// In memory: the session ends with the process.
#[derive(Default)]
pub struct MemoryStorage(Mutex<Option<Zeroizing<String>>>);

impl TokenStorage for MemoryStorage {
    fn load(&self) -> io::Result<Option<Zeroizing<String>>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn save(&self, refresh_token: &str) -> io::Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Zeroizing::new(refresh_token.to_owned()));
        Ok(())
    }

    fn clear(&self) -> io::Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStorage(..)")
    }
}

/// In a file that only its owner may read (mode 0600), replaced as a whole: a crash leaves the old
/// token or the new one.
#[derive(Debug)]
pub struct FileStorage(PathBuf);

impl FileStorage {
    /// At a path in a directory that exists.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn directory(&self) -> &Path {
        self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}

impl TokenStorage for FileStorage {
    fn load(&self) -> io::Result<Option<Zeroizing<String>>> {
        match fs::read_to_string(&self.0) {
            Ok(token) => Ok(Some(Zeroizing::new(token))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&self, refresh_token: &str) -> io::Result<()> {
        // Made with mode 0600, before anything is in it.
        let mut file = NamedTempFile::new_in(self.directory())?;
        file.write_all(refresh_token.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.0).map_err(|error| error.error)?;
        // The new name, too, must outlive a power cut.
        File::open(self.directory())?.sync_all()
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::client) fn keeps_the_last(storage: &dyn TokenStorage) {
        let load = || storage.load().expect("loads").map(|token| token.to_string());
        assert_eq!(load(), None);
        for token in ["tar_one", "tar_two"] {
            storage.save(token).expect("saves");
            assert_eq!(load().as_deref(), Some(token));
        }
        storage.clear().expect("clears");
        storage.clear().expect("clears again");
        assert_eq!(load(), None);
    }

    #[test]
    fn each_storage_keeps_the_last_token() {
        let directory = tempfile::tempdir().expect("a directory");
        keeps_the_last(&MemoryStorage::default());
        keeps_the_last(&FileStorage::new(directory.path().join("token")));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_its_owners_alone_whatever_stood_there() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        fs::write(&path, "open to all").expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opens it");
        FileStorage::new(&path).save("tar_one").expect("saves");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "nothing is left beside it");
    }
}
