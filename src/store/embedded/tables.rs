//! How the embedded store lays out its file, and how it is read. Knows no thread, no queue, and not
//! how anything gets into the tables.

use std::ops::RangeFrom;
use std::time::Duration;

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};

use crate::authority::ports::{RecordKey, StoreError, Stored, Version};
use crate::domain::revocation::Position;
use crate::domain::time::Timestamp;
use crate::store::log_entry::LogEntry;
use crate::store::scan::Row;

use super::engine_error::EngineError;

/// Record key → version ‖ expiry in milliseconds ‖ content.
pub(super) const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
/// When a record may go, and which.
pub(super) const RECORD_EXPIRY: TableDefinition<(i64, &[u8]), ()> = TableDefinition::new("record_expiry");
/// Number → entry.
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// When a log entry may go, and which.
pub(super) const LOG_EXPIRY: TableDefinition<(i64, u64), ()> = TableDefinition::new("log_expiry");
/// What is known of the whole: its format, and where the log has got to.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

const FORMAT_KEY: &str = "format";
pub(super) const HEAD_KEY: &str = "head";
/// The layout of this file's tables; a file of another is refused.
pub(super) const FORMAT: u32 = 1;

/// The expiry of what does not expire.
pub(super) const NEVER: i64 = i64::MAX;
const RECORD_HEAD: usize = 24;

/// The embedded store has one partition.
const PARTITION: u16 = 0;

/// Expired rows stay this long, so that a clock set back a little finds what it expects.
const GARBAGE_SLACK: Duration = Duration::from_secs(60);

/// The last entry's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) tag: u32,
}

impl Head {
    pub(super) fn position(self) -> Position {
        Position { partition: PARTITION, number: self.number, tag: self.tag }
    }

    pub(super) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..].copy_from_slice(&self.tag.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (number, tag) = bytes.split_first_chunk::<8>()?;
        Some(Self { number: u64::from_be_bytes(*number), tag: u32::from_be_bytes(tag.try_into().ok()?) })
    }
}

/// What the file's own note says of its layout.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Ours, just made or made before.
    Known,
    /// Another version's, or not ours at all (`None`).
    Other(Option<u32>),
}

/// Makes the tables in an empty file, and checks the note of their format in any other.
pub(super) fn prepare(database: &Database) -> Result<Layout, EngineError> {
    let transaction = database.begin_write()?;
    if transaction.list_tables()?.next().is_some() {
        let meta = transaction.open_table(META)?;
        let format = meta.get(FORMAT_KEY)?.and_then(|bytes| Some(u32::from_be_bytes(bytes.value().try_into().ok()?)));
        drop(meta);
        transaction.abort()?;
        return Ok(if format == Some(FORMAT) { Layout::Known } else { Layout::Other(format) });
    }
    transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT.to_be_bytes().as_slice())?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(RECORD_EXPIRY)?;
    transaction.open_table(LOG)?;
    transaction.open_table(LOG_EXPIRY)?;
    transaction.commit()?;
    Ok(Layout::Known)
}

/// Reads one record; an expired one is not there.
pub(super) fn read_record(database: &Database, key: &[u8], now: Timestamp) -> Result<Option<Stored>, StoreError> {
    let transaction = database.begin_read().map_err(EngineError::from)?;
    let records = transaction.open_table(RECORDS).map_err(EngineError::from)?;
    let Some(row) = records.get(key).map_err(EngineError::from)? else { return Ok(None) };
    let row = RecordRow::decode(row.value())?;
    Ok(row.is_alive(now).then(|| Stored { bytes: row.content.to_vec().into(), version: row.version }))
}

/// Hands out every record that has not expired, all of one moment, for as long as they are wanted.
pub(super) fn read_records(
    database: &Database,
    now: Timestamp,
    mut wanted: impl FnMut(Row) -> bool,
) -> Result<(), StoreError> {
    let transaction = database.begin_read().map_err(EngineError::from)?;
    let records = transaction.open_table(RECORDS).map_err(EngineError::from)?;
    for row in records.iter().map_err(EngineError::from)? {
        let (key, value) = row.map_err(EngineError::from)?;
        let row = RecordRow::decode(value.value())?;
        let key =
            RecordKey::from_bytes(key.value()).ok_or_else(|| StoreError::Corrupt("the key of a record".into()))?;
        let expires = (row.expiry != NEVER).then(|| Timestamp::from_millis(row.expiry));
        let stored = Stored { bytes: row.content.to_vec().into(), version: row.version };
        if row.is_alive(now) && !wanted(Row { key, stored, expires }) {
            break;
        }
    }
    Ok(())
}

/// Where the log has got to.
pub(super) fn read_head(database: &Database) -> Result<Head, StoreError> {
    head_of(&database.begin_read().map_err(EngineError::from)?)
}

/// The log's entries from a number on, with the head that they reach up to.
pub(super) fn read_log(database: &Database, numbers: RangeFrom<u64>) -> Result<(Head, Vec<LogEntry>), StoreError> {
    let transaction = database.begin_read().map_err(EngineError::from)?;
    let log = transaction.open_table(LOG).map_err(EngineError::from)?;
    let mut entries = Vec::new();
    let whole = numbers.start == 0;
    for row in log.range(numbers).map_err(EngineError::from)? {
        let (number, bytes) = row.map_err(EngineError::from)?;
        entries.push(decode_entry(number.value(), bytes.value())?);
    }
    // The engine does not check its pages when it reads: a branch that damage made unreachable must
    // not pass for entries that never were.
    if whole && log.len().map_err(EngineError::from)? != entries.len() as u64 {
        return Err(StoreError::Corrupt("the revocation log lacks entries".into()));
    }
    Ok((head_of(&transaction)?, entries))
}

/// Whether anything has been expired for long enough to go.
pub(super) fn has_garbage(database: &Database, now: Timestamp) -> Result<bool, EngineError> {
    let transaction = database.begin_read()?;
    let due = garbage_limit(now);
    let record = transaction.open_table(RECORD_EXPIRY)?.first()?.is_some_and(|(key, _)| key.value().0 <= due);
    let entry = transaction.open_table(LOG_EXPIRY)?.first()?.is_some_and(|(key, _)| key.value().0 <= due);
    Ok(record || entry)
}

fn head_of(transaction: &ReadTransaction) -> Result<Head, StoreError> {
    let meta = transaction.open_table(META).map_err(EngineError::from)?;
    let Some(bytes) = meta.get(HEAD_KEY).map_err(EngineError::from)? else { return Ok(Head::default()) };
    Head::from_bytes(bytes.value()).ok_or_else(|| StoreError::Corrupt("the note of the log's head".into()))
}

fn decode_entry(number: u64, bytes: &[u8]) -> Result<LogEntry, StoreError> {
    LogEntry::decode(number, bytes).map_err(|damaged| StoreError::Corrupt(damaged.to_string().into()))
}

/// What expired up to here may go.
pub(super) fn garbage_limit(now: Timestamp) -> i64 {
    (now - GARBAGE_SLACK).millis()
}

/// A record as its table keeps it.
pub(super) struct RecordRow<'a> {
    pub(super) version: Version,
    pub(super) expiry: i64,
    pub(super) content: &'a [u8],
}

impl<'a> RecordRow<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, StoreError> {
        let parts = bytes.split_first_chunk::<16>().and_then(|(version, rest)| {
            let (expiry, content) = rest.split_first_chunk::<8>()?;
            Some(Self { version: Version(*version), expiry: i64::from_be_bytes(*expiry), content })
        });
        parts.ok_or_else(|| StoreError::Corrupt("a record is shorter than its head".into()))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORD_HEAD + self.content.len());
        bytes.extend_from_slice(&self.version.0);
        bytes.extend_from_slice(&self.expiry.to_be_bytes());
        bytes.extend_from_slice(self.content);
        bytes
    }

    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        self.expiry > now.millis()
    }
}
