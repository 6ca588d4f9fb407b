//! What one step does to the tables, inside a transaction that the writer begins and commits. Knows
//! no thread, no queue, no file.

use redb::{ReadableTable as _, Table, WriteTransaction};

use crate::authority::ports::{Commit, Entropy, Outcome, StoreError};
use crate::domain::revocation::{Owner, Position, Revision, RevocationEntry};
use crate::domain::time::Timestamp;
use crate::store::log_entry::LogEntry;

use super::engine_error::EngineError;
use super::tables::{self, Head, NEVER, RecordRow, garbage_limit};

/// The tables inside one write transaction. Dropped unfinished, it leaves no trace: its owner then
/// aborts the transaction.
pub(super) struct Step<'txn> {
    records: Table<'txn, &'static [u8], &'static [u8]>,
    record_expiry: Table<'txn, (i64, &'static [u8]), ()>,
    log: Table<'txn, u64, &'static [u8]>,
    log_expiry: Table<'txn, (i64, u64), ()>,
    meta: Table<'txn, &'static str, &'static [u8]>,
    head: Head,
    now: Timestamp,
    appended: Vec<(Position, RevocationEntry)>,
    changed: bool,
}

/// What a finished step leaves to be told.
pub(super) struct Written {
    /// The head after it.
    pub(super) head: Head,
    /// The entries it added, in order.
    pub(super) appended: Vec<(Position, RevocationEntry)>,
    /// Whether there is anything to make durable.
    pub(super) changed: bool,
}

impl<'txn> Step<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction, head: Head, now: Timestamp) -> Result<Self, EngineError> {
        Ok(Self {
            records: transaction.open_table(tables::RECORDS)?,
            record_expiry: transaction.open_table(tables::RECORD_EXPIRY)?,
            log: transaction.open_table(tables::LOG)?,
            log_expiry: transaction.open_table(tables::LOG_EXPIRY)?,
            meta: transaction.open_table(tables::META)?,
            head,
            now,
            appended: Vec::new(),
            changed: false,
        })
    }

    /// Applies one commit. The outer error ends the whole transaction; the inner one is this
    /// commit's alone, and has written nothing.
    pub(super) fn apply(
        &mut self,
        commit: &Commit,
        entropy: &dyn Entropy,
    ) -> Result<Result<Outcome, StoreError>, EngineError> {
        let key = commit.key.to_bytes();
        let mut old_expiry = NEVER;
        let mut current = None;
        if let Some(row) = self.records.get(key.as_slice())? {
            let row = match RecordRow::decode(row.value()) {
                Ok(row) => row,
                Err(damaged) => return Ok(Err(damaged)),
            };
            if row.version == commit.id {
                return Ok(Ok(self.committed()));
            }
            old_expiry = row.expiry;
            current = row.is_alive(self.now).then_some(row.version);
        }
        if current != commit.expected {
            return Ok(Ok(Outcome::Conflict));
        }
        self.write_record(&key, old_expiry, commit)?;
        for entry in &commit.revocations {
            self.append(commit.key.owner(), entry, entropy)?;
        }
        Ok(Ok(self.committed()))
    }

    fn committed(&self) -> Outcome {
        Outcome::Committed(Revision::at(self.head.position()))
    }

    fn write_record(&mut self, key: &[u8], old_expiry: i64, commit: &Commit) -> Result<(), EngineError> {
        let expiry = commit.expires.map_or(NEVER, Timestamp::millis);
        if old_expiry != NEVER && old_expiry != expiry {
            self.record_expiry.remove((old_expiry, key))?;
        }
        if expiry != NEVER && old_expiry != expiry {
            self.record_expiry.insert((expiry, key), ())?;
        }
        let row = RecordRow { version: commit.id, expiry, content: &commit.bytes };
        self.records.insert(key, row.encode().as_slice())?;
        self.changed = true;
        Ok(())
    }

    fn append(
        &mut self,
        owner: Option<Owner>,
        entry: &RevocationEntry,
        entropy: &dyn Entropy,
    ) -> Result<(), EngineError> {
        let mut tag = [0; 4];
        entropy.fill(&mut tag);
        let micros = u64::try_from(self.now.millis()).unwrap_or(0).saturating_mul(1000);
        let head = Head { number: micros.max(self.head.number + 1), tag: u32::from_be_bytes(tag) };
        let row = LogEntry {
            tag: head.tag,
            previous_number: self.head.number,
            previous_tag: self.head.tag,
            owner,
            entry: entry.clone(),
        };
        self.log.insert(head.number, row.encode(head.number).as_slice())?;
        self.log_expiry.insert((entry.until.millis(), head.number), ())?;
        self.head = head;
        self.appended.push((head.position(), entry.clone()));
        Ok(())
    }

    /// Removes records and entries that have long expired, at most `most` of each.
    pub(super) fn collect_garbage(&mut self, most: usize) -> Result<(), EngineError> {
        let due = garbage_limit(self.now);
        for _ in 0..most {
            let Some(key) = self.record_expiry.first()?.and_then(|(expiry, _)| {
                let (expiry, key) = expiry.value();
                (expiry <= due).then(|| (expiry, key.to_vec()))
            }) else {
                break;
            };
            self.records.remove(key.1.as_slice())?;
            self.record_expiry.remove((key.0, key.1.as_slice()))?;
            self.changed = true;
        }
        for _ in 0..most {
            let Some(key) = self.log_expiry.first()?.map(|(key, _)| key.value()).filter(|key| key.0 <= due) else {
                break;
            };
            self.log.remove(key.1)?;
            self.log_expiry.remove(key)?;
            self.changed = true;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Written, EngineError> {
        if !self.appended.is_empty() {
            self.meta.insert(tables::HEAD_KEY, self.head.to_bytes().as_slice())?;
        }
        Ok(Written { head: self.head, appended: self.appended, changed: self.changed })
    }
}
