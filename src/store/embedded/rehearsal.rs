//! Opening a store's file without changing it: what would be written stays in memory. Knows nothing of
//! what the file holds, and nothing of how it is opened for good.
//!
//! The engine checks its pages after a crash, but not after a clean stop, and its own check repairs by
//! going back one commit. Damage has to be reported, not papered over, so it is looked for here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Builder, DatabaseError, StorageBackend, StorageError};

/// The overlay's grain.
const BLOCK: usize = 4096;

/// Reads the whole file, checks every page, and leaves it as it is.
pub(super) fn rehearse(file: File, cache_bytes: usize) -> Result<(), DatabaseError> {
    let length = file.metadata()?.len();
    let overlay = Overlay { file, changed: Mutex::new(Changed { length, visible: length, blocks: HashMap::new() }) };
    let repaired = Arc::new(Mutex::new(false));
    let note = repaired.clone();
    let mut database = Builder::new()
        .set_cache_size(cache_bytes)
        .set_repair_callback(move |_| *note.lock().unwrap_or_else(PoisonError::into_inner) = true)
        .create_with_backend(overlay)?;
    // A repair has just checked everything.
    let repaired = *repaired.lock().unwrap_or_else(PoisonError::into_inner);
    if repaired || database.check_integrity()? {
        return Ok(());
    }
    Err(StorageError::Corrupted("a page does not match its checksum".to_owned()).into())
}

struct Overlay {
    file: File,
    changed: Mutex<Changed>,
}

struct Changed {
    length: u64,
    /// How much of the file still shows: what was cut off reads as zeros if the length grows again.
    visible: u64,
    blocks: HashMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the part of the file that shows; zeros beyond.
    fn read_below(&self, visible: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(visible.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (there, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        self.file.read_exact_at(there, offset)
    }
}

/// Splits `length` bytes at `offset` into blocks: the block's number, where in it, where in the bytes, how many.
fn blocks(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % BLOCK as u64).unwrap_or(0);
        let part = (BLOCK - within).min(length - done);
        let item = (at / BLOCK as u64, within, done, part);
        done += part;
        (part > 0).then_some(item)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.changed();
        if offset + out.len() as u64 > changed.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_below(changed.visible, offset, out)?;
        for (block, within, at, part) in blocks(offset, out.len()) {
            if let Some(bytes) = changed.blocks.get(&block) {
                out[at..at + part].copy_from_slice(&bytes[within..within + part]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changed = self.changed();
        for (block, bytes) in &mut changed.blocks {
            let kept = usize::try_from(len.saturating_sub(block * BLOCK as u64)).unwrap_or(BLOCK).min(BLOCK);
            bytes[kept..].fill(0);
        }
        changed.visible = changed.visible.min(len);
        changed.length = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.changed();
        for (block, within, at, part) in blocks(offset, data.len()) {
            let visible = changed.visible;
            let bytes = match changed.blocks.entry(block) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let mut bytes = Box::new([0; BLOCK]);
                    self.read_below(visible, block * BLOCK as u64, &mut *bytes)?;
                    entry.insert(bytes)
                }
            };
            bytes[within..within + part].copy_from_slice(&data[at..at + part]);
        }
        Ok(())
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").finish_non_exhaustive()
    }
}
