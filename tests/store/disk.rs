//! A disk in memory that keeps apart what was synced and what was not, and whose power can be cut at
//! any operation.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;
use token_authority::authority::ports::Entropy;

use super::fixtures::SeededEntropy;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    synced: Vec<u8>,
    /// As the running system sees it: synced and unsynced.
    seen: Vec<u8>,
    unsynced: Vec<Change>,
    operations: usize,
    fault: Fault,
    off: bool,
    honest: bool,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLength(usize),
}

/// At which operation something happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Never,
    /// The power goes, and nothing works any more.
    CutAt(usize),
    /// One operation fails, then everything works again.
    FailAt(usize),
}

/// What of the unsynced survives a cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Survival {
    Nothing,
    Everything,
    /// Each sector of each write by a coin of its own: torn, reordered.
    Sectors(u64),
}

impl Disk {
    pub(crate) fn holding(bytes: Vec<u8>, fault: Fault) -> Self {
        let state = State {
            synced: bytes.clone(),
            seen: bytes,
            unsynced: Vec::new(),
            operations: 0,
            fault,
            off: false,
            honest: true,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Says that it has synced, and has not.
    pub(crate) fn lying(bytes: Vec<u8>, fault: Fault) -> Self {
        let disk = Self::holding(bytes, fault);
        disk.lock().honest = false;
        disk
    }

    /// How many writes, syncs and changes of length there were.
    pub(crate) fn operations(&self) -> usize {
        self.lock().operations
    }

    pub(crate) fn after_cut(&self, survival: Survival) -> Vec<u8> {
        let state = self.lock();
        let coins = match survival {
            Survival::Nothing => return state.synced.clone(),
            Survival::Everything => return state.seen.clone(),
            Survival::Sectors(seed) => SeededEntropy::named(&format!("coins {seed}")),
        };
        let heads = || {
            let mut byte = [0];
            coins.fill(&mut byte);
            byte[0] & 1 == 1
        };
        let mut bytes = state.synced.clone();
        for change in &state.unsynced {
            match change {
                Change::SetLength(_) if heads() => change.apply(&mut bytes),
                Change::SetLength(_) => {}
                Change::Write { offset, data } => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        let change = Change::Write { offset: offset + index * SECTOR, data: sector.to_vec() };
                        if heads() {
                            change.apply(&mut bytes);
                        }
                    }
                }
            }
        }
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("the disk")
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLength(length) => bytes.resize(*length, 0),
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl State {
    fn power(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("no power")) } else { Ok(()) }
    }

    /// Counts an operation, and lets the fault strike.
    fn operate(&mut self) -> io::Result<()> {
        self.power()?;
        let this = self.operations;
        self.operations += 1;
        self.off = self.fault == Fault::CutAt(this);
        if self.off || self.fault == Fault::FailAt(this) { Err(io::Error::other("it failed")) } else { Ok(()) }
    }

    /// A change under way when the power goes may still be torn, so it counts as unsynced.
    fn change(&mut self, change: Change) -> io::Result<()> {
        let outcome = self.operate();
        if outcome.is_ok() || self.off && self.fault == Fault::CutAt(self.operations - 1) {
            change.apply(&mut self.seen);
            self.unsynced.push(change);
            self.fault = if self.off { Fault::Never } else { self.fault };
        }
        outcome
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let state = self.lock();
        state.power()?;
        Ok(state.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        state.power()?;
        let offset = usize::try_from(offset).expect("an offset");
        let bytes = state.seen.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().change(Change::SetLength(usize::try_from(len).expect("a length")))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        if state.honest {
            state.unsynced.clear();
            state.synced = state.seen.clone();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("an offset");
        self.lock().change(Change::Write { offset, data: data.to_vec() })
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({} operations)", self.operations())
    }
}
