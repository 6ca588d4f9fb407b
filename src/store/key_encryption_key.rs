//! The key-encryption key (KEK): 256 bits in a file outside the store, without which nothing in the
//! store can be read. Knows neither the store nor what the key seals.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::authority::ports::Entropy;

/// The key's length in bytes.
pub const KEY_BYTES: usize = 32;

/// More than any form of a key takes, with blanks around it.
const MAX_FILE_BYTES: u64 = 256;

/// The key that seals the data keys.
pub struct KeyEncryptionKey {
    key: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyEncryptionKeyId,
}

/// Names a key-encryption key without telling anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyEncryptionKeyId(pub [u8; 8]);

/// Whether a key was made just now: the caller says so aloud, since it has to be backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// Made and written just now.
    New,
    /// Read from its file.
    Existing,
}

/// What is wrong with the key's file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is not there.
    #[error("there is no key file {}", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may use it.
    #[error("others may use the key file {path} (mode {mode:04o}); run: chmod 600 {path}", path = .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no key.
    #[error("the key file {} does not hold a key: it needs 32 random bytes, as 43 base64url or 64 hexadecimal characters", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Anything else that the system refused.
    #[error("can't {verb} the key file {}: {source}; give it to the user that runs the server, or choose another", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl KeyEncryptionKey {
    /// A key from its bytes.
    pub fn new(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut context = Context::new(&SHA256);
        // Its own domain, so that the id equals no other hash of the key.
        context.update(b"token-authority key-encryption key id\0");
        context.update(&*key);
        let mut id = [0; 8];
        id.copy_from_slice(&context.finish().as_ref()[..8]);
        Self { key, id: KeyEncryptionKeyId(id) }
    }

    /// Reads the key from its file, which only its owner may read: base64url or hexadecimal.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KeyFileError::Missing { path: path.into() },
            _ => failed("read", path)(source),
        })?;
        // Of the open file, so that nobody exchanges it between the check and the reading.
        let mode = file.metadata().map_err(failed("read", path))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.into(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(512));
        file.take(MAX_FILE_BYTES).read_to_end(&mut text).map_err(failed("read", path))?;
        let key = parse(&text).ok_or_else(|| KeyFileError::Malformed { path: path.into() })?;
        Ok(Self::new(key))
    }

    /// Reads the key, or makes one where there is no file. The file appears whole or not at all, and
    /// replaces none.
    pub fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<(Self, Created), KeyFileError> {
        match Self::load(path) {
            Err(KeyFileError::Missing { .. }) => {}
            loaded => return loaded.map(|key| (key, Created::Existing)),
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(&mut *key);
        match write_new(path, &key, entropy) {
            Ok(()) => Ok((Self::new(key), Created::New)),
            // Somebody else was faster: theirs it is.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((Self::load(path)?, Created::Existing)),
            Err(error) => Err(failed("write", path)(error)),
        }
    }

    /// The key's name.
    pub fn id(&self) -> KeyEncryptionKeyId {
        self.id
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.key
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyEncryptionKey({})", self.id)
    }
}

impl fmt::Display for KeyEncryptionKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> KeyFileError + 'a {
    move |source| KeyFileError::Io { verb, path: path.into(), source }
}

fn parse(text: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let text = text.trim_ascii();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    match text.len() {
        64 => {
            for (byte, pair) in key.iter_mut().zip(text.as_chunks::<2>().0) {
                *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
            }
        }
        43 => decode(&URL_SAFE_NO_PAD, text, &mut key)?,
        44 => decode(&URL_SAFE, text, &mut key)?,
        _ => return None,
    }
    Some(key)
}

fn decode(engine: &impl base64::Engine, text: &[u8], key: &mut [u8; KEY_BYTES]) -> Option<()> {
    let bytes = Zeroizing::new(engine.decode(text).ok()?);
    *key = bytes.as_slice().try_into().ok()?;
    Some(())
}

fn hex_digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Written beside, synced, then linked into place: a link fails where there is a file already.
fn write_new(path: &Path, key: &[u8; KEY_BYTES], entropy: &dyn Entropy) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut suffix = [0; 8];
    entropy.fill(&mut suffix);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{:016x}.new", u64::from_be_bytes(suffix)));
    let draft = directory.join(name);
    let mut text = Zeroizing::new(URL_SAFE_NO_PAD.encode(key));
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let linked =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    linked?;
    File::open(directory)?.sync_all()
}
