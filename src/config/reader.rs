//! Reads the keys of one table into their places, and notes what is wrong with them. Knows no key.

use super::document::{Raw, Table};
use super::problem::{Origin, Problem, unknown};
use super::value;

pub(super) struct Reader<'a> {
    table: Table,
    known: &'static [&'static str],
    tables: &'static [&'static str],
    pub(super) problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Of a table that may have the `known` keys.
    pub(super) fn new(table: Table, known: &'static [&'static str], problems: &'a mut Vec<Problem>) -> Self {
        Self { table, known, tables: &[], problems }
    }

    /// Of one that may also have had these tables, which others read.
    pub(super) fn beside(self, tables: &'static [&'static str]) -> Self {
        Self { tables, ..self }
    }

    /// Where the table starts.
    pub(super) fn head(&self) -> Origin {
        self.table.head()
    }

    /// Whether a key has not been read yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.has(key)
    }

    /// Takes a key as it is written.
    pub(super) fn take(&mut self, key: &'static str) -> Option<(Origin, Raw)> {
        debug_assert!(self.known.contains(&key));
        self.table.take(key)
    }

    pub(super) fn key<T>(&mut self, key: &'static str, parse: impl Fn(&Raw) -> Result<T, String>) -> Option<T> {
        let mut value = None;
        self.set(&mut value, key, |raw| parse(raw).map(Some));
        value
    }

    /// Reads a key into its place; where it stands, if it is there and right.
    pub(super) fn set<T>(
        &mut self,
        place: &mut T,
        key: &'static str,
        parse: impl Fn(&Raw) -> Result<T, String>,
    ) -> Option<Origin> {
        let (origin, raw) = self.take(key)?;
        match parse(&raw) {
            Ok(value) => {
                *place = value;
                Some(origin)
            }
            Err(message) => {
                self.wrong(origin, value::refused(&raw, message));
                None
            }
        }
    }

    pub(super) fn wrong(&mut self, origin: Origin, message: String) {
        self.problems.push(Problem { origin, message });
    }

    /// Notes every key that nobody has read.
    pub(super) fn finish(self) {
        for entry in &self.table.entries {
            let origin = self.table.origin(&entry.key, entry.line);
            let message = if entry.value.is_table() && !self.tables.is_empty() {
                unknown("table", &entry.key, self.tables)
            } else {
                unknown("key", &entry.key, self.known)
            };
            self.problems.push(Problem { origin, message });
        }
    }
}
