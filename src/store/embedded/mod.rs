//! The store inside the process: one file in one directory, for one server at a time. Keeps what it is
//! given as it is (`sealing` is a layer above); knows no tokens.
//!
//! Why redb: a `StorageBackend` can be put below it, so the tests cut the power at every single write
//! and sync; it is ACID, one file, pages checksummed, and in groups commits over 10,000 times a second,
//! several times what RSA can sign. fjall is faster yet, but nothing fits between it and its files.

mod directory;
mod engine_error;
mod followers;
mod queue;
mod rehearsal;
mod step;
mod tables;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::authority::ports::{Clock, Commit, Entropy, LogUpdate, Outcome, RecordKey, Seen, Store, StoreError, Stored};
use crate::domain::revocation::{Owner, Revision, RevocationEntry};
use crate::store::scan::{Condition as Told, Part, Row, Scan};

pub use directory::OpenError;
use directory::OwnDirectory;
use engine_error::surviving_damage;
use queue::{GATHER, PendingCommit, Queue, Refused};
use tables::Layout;
use writer::{Condition, Writer};

/// What the store may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Memory for the engine's page cache, in bytes.
    pub cache_bytes: usize,
    /// Commits that may wait; further ones are refused.
    pub queued_commits: usize,
    /// Commits that are made durable together.
    pub batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, queued_commits: 1024, batch: 256 }
    }
}

/// The embedded store. One partition, number 0.
pub struct EmbeddedStore {
    /// `None` once closed: another server may take the directory then.
    open: RwLock<Option<Open>>,
    condition: Arc<Condition>,
    queue: Arc<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
    clock: Arc<dyn Clock>,
    file: PathBuf,
}

/// Closed in this order.
struct Open {
    database: Arc<Database>,
    _own: Option<OwnDirectory>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, made if it is missing, with the usual limits.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, OpenError> {
        Self::open_limited(directory, &Limits::default(), clock, entropy)
    }

    /// Opens the store in a directory, made if it is missing.
    pub fn open_limited(
        directory: &Path,
        limits: &Limits,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        Self::open_taken(OwnDirectory::take(directory)?, directory, limits, clock, entropy)
    }

    /// Opens the store that is in a directory; where there is none, none is made.
    pub fn open_existing(
        directory: &Path,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        Self::open_taken(OwnDirectory::take_existing(directory)?, directory, &Limits::default(), clock, entropy)
    }

    fn open_taken(
        own: OwnDirectory,
        directory: &Path,
        limits: &Limits,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let place = Place { directory: directory.to_owned(), file: own.file() };
        let backend = |file| FileBackend::new(file).map_err(|error| place.refused(error));
        let file = own.open_file(|new| place.open_database(backend(new)?, limits).map(drop))?;
        let rehearsal = file.try_clone().map_err(|source| OpenError::Io { path: place.file.clone(), source })?;
        surviving_damage(|| rehearsal::rehearse(rehearsal, limits.cache_bytes))
            .map_err(|error| place.damaged(&error))?
            .map_err(|error| place.refused(error))?;
        Self::start(&place, Some(own), backend(file)?, limits, clock, entropy)
    }

    /// Opens the store on any storage.
    pub fn open_with(
        backend: impl StorageBackend,
        limits: &Limits,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let place = Place { directory: "(given storage)".into(), file: "(given storage)".into() };
        Self::start(&place, None, backend, limits, clock, entropy)
    }

    fn start(
        place: &Place,
        own: Option<OwnDirectory>,
        backend: impl StorageBackend,
        limits: &Limits,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let opened = surviving_damage(|| {
            let database = place.open_database(backend, limits)?;
            let head = tables::read_head(&database).map_err(|error| place.damaged(&error))?;
            Ok((Arc::new(database), head))
        });
        let (database, head) = opened.unwrap_or_else(|error| Err(place.damaged(&error)))?;
        let condition = Arc::<Condition>::default();
        let queue = Arc::new(Queue::new(limits.queued_commits, limits.batch, GATHER));
        let writer = Writer {
            database: database.clone(),
            condition: condition.clone(),
            queue: queue.clone(),
            head,
            clock: clock.clone(),
            entropy,
        };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run());
        let thread = thread.map_err(|source| OpenError::Io { path: place.directory.clone(), source })?;
        let open = RwLock::new(Some(Open { database, _own: own }));
        Ok(Self { open, condition, queue, writer: Mutex::new(Some(thread)), clock, file: place.file.clone() })
    }

    /// Writes what waits, then stops: later calls are refused, and another server may open the
    /// directory. Blocks until that is done; dropping the store does the same.
    pub fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            self.queue.close();
            let _ = writer.join();
            // The engine tidies up as it closes; in a damaged file that may fail, and changes nothing here.
            let _ = surviving_damage(|| self.open.write().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    /// Hands out the database only while nothing is known against it.
    fn with_database<T>(&self, read: impl FnOnce(&Arc<Database>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.condition.check()?;
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(open) => surviving_damage(|| read(&open.database))?,
            None => Err(StoreError::Unavailable("the store is closed".into())),
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn partitions(&self) -> u16 {
        1
    }

    fn partition(&self, _: &RecordKey) -> u16 {
        0
    }

    /// Reads on the calling task: nearly always a few microseconds in the engine's cache or the
    /// system's, less than the way to a blocking thread and back, and never behind a write.
    async fn load(&self, key: &RecordKey) -> Result<Option<Stored>, StoreError> {
        let now = self.clock.now();
        self.with_database(|database| tables::read_record(database, &key.to_bytes(), now))
    }

    async fn commit(&self, commit: &Commit) -> Result<Outcome, StoreError> {
        self.condition.check()?;
        let (answer, answered) = oneshot::channel();
        match self.queue.push(PendingCommit { commit: commit.clone(), answer }) {
            Ok(()) => {}
            Err(Refused::Full) => return Err(StoreError::Unavailable("queue full".into())),
            Err(Refused::Closed) => {
                self.condition.check()?;
                return Err(StoreError::Unavailable("the store is closed".into()));
            }
        }
        // The writer drops an answer only when it panics, which may be after the commit.
        answered.await.unwrap_or_else(|_| Err(StoreError::OutcomeUnknown("the store's writer stopped".into())))
    }

    async fn proof(&self, _: &RecordKey) -> Result<Revision, StoreError> {
        self.with_database(|database| Ok(Revision::at(tables::read_head(database)?.position())))
    }

    /// Reads the whole log first, on a blocking thread: half a second where there are a million entries.
    async fn follow(&self) -> Result<mpsc::Receiver<LogUpdate>, StoreError> {
        let database = self.with_database(|database| Ok(database.clone()))?;
        let condition = self.condition.clone();
        tokio::task::spawn_blocking(move || surviving_damage(|| condition.followers.join(&database))?)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("reading the log stopped".into())))
    }

    async fn watch(&self, key: &RecordKey) -> Result<watch::Receiver<Seen>, StoreError> {
        self.with_database(|_| Ok(self.condition.watched.join(key, self.clock.now()).0))
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.with_database(|_| Ok(()))
    }
}

#[async_trait]
impl Scan for EmbeddedStore {
    async fn scan(&self, rows: mpsc::Sender<Row>) -> Result<(), StoreError> {
        let database = self.with_database(|database| Ok(database.clone()))?;
        let now = self.clock.now();
        let read =
            move || surviving_damage(|| tables::read_records(&database, now, |row| rows.blocking_send(row).is_ok()))?;
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|_| Err(StoreError::Unavailable("reading the records stopped".into())))
    }

    async fn entries(&self) -> Result<Vec<(Option<Owner>, RevocationEntry)>, StoreError> {
        let database = self.with_database(|database| Ok(database.clone()))?;
        let read = move || surviving_damage(|| tables::read_log(&database, 0..))?;
        let read = tokio::task::spawn_blocking(read).await;
        let (_, log) = read.unwrap_or_else(|_| Err(StoreError::Unavailable("reading the log stopped".into())))?;
        Ok(log.into_iter().map(|row| (row.owner, row.entry)).collect())
    }

    async fn condition(&self) -> Result<Told, StoreError> {
        let size = std::fs::metadata(&self.file).map(|file| format!("{} bytes", file.len()));
        let facts = vec![("file size", size.unwrap_or_else(|error| error.to_string()))];
        let part = Part { name: self.file.display().to_string(), facts };
        Ok(Told { topology: "embedded", parts: vec![part] })
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("condition", &self.condition).finish_non_exhaustive()
    }
}

/// What errors name.
struct Place {
    directory: PathBuf,
    file: PathBuf,
}

impl Place {
    fn open_database(&self, backend: impl StorageBackend, limits: &Limits) -> Result<Database, OpenError> {
        let database = Builder::new().set_cache_size(limits.cache_bytes).create_with_backend(backend);
        let database = database.map_err(|error| self.refused(error))?;
        match tables::prepare(&database).map_err(|error| self.damaged(&error))? {
            Layout::Known => Ok(database),
            Layout::Other(format) => Err(self.of_other_format(format)),
        }
    }

    fn refused(&self, error: DatabaseError) -> OpenError {
        match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { directory: self.directory.clone() },
            DatabaseError::UpgradeRequired(version) => OpenError::Format {
                path: self.file.clone(),
                found: format!("the engine's format {version}"),
                expected: tables::FORMAT,
            },
            // The engine reports a foreign or cut file as an I/O error of these kinds.
            DatabaseError::Storage(StorageError::Io(source))
                if !matches!(source.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
            {
                OpenError::Io { path: self.file.clone(), source }
            }
            other => self.damaged(&other),
        }
    }

    fn damaged(&self, error: &dyn fmt::Display) -> OpenError {
        OpenError::Damaged { path: self.file.clone(), detail: error.to_string() }
    }

    fn of_other_format(&self, format: Option<u32>) -> OpenError {
        match format {
            Some(format) => OpenError::Format {
                path: self.file.clone(),
                found: format!("format {format}"),
                expected: tables::FORMAT,
            },
            None => self.damaged(&"it is a database of another program"),
        }
    }
}
