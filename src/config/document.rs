//! A TOML file as tables and values that know their lines. Knows no key.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};

/// A value as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// A string.
    Text(String),
    /// A value of the environment, which can't say whether it is a string.
    Word(String),
    Boolean(bool),
    Integer(i64),
    List(Vec<Raw>),
    Table(Vec<Entry>),
    /// A kind that no key takes, as written.
    Other(String),
}

impl Raw {
    /// Whether it was written as a table, or as several of one name.
    pub(super) fn is_table(&self) -> bool {
        match self {
            Self::Table(_) => true,
            Self::List(items) => items.first().is_some_and(Self::is_table),
            _ => false,
        }
    }
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// From 1.
    pub(super) line: usize,
    pub(super) value: Raw,
}

/// A parsed file.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) file: PathBuf,
    pub(super) entries: Vec<Entry>,
}

impl Document {
    /// Reads and parses a file.
    pub(super) fn read(file: &Path) -> Result<Self, Problem> {
        let problem = |line, message| Problem {
            origin: Origin::File { file: file.to_owned(), line, key: String::new() },
            message,
        };
        let text = fs::read_to_string(file).map_err(|error| problem(0, format!("can't be read: {error}")))?;
        let table = DeTable::parse(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(&text, span.start));
            problem(line, format!("not TOML: {}", error.message().replace('\n', "; ")))
        })?;
        Ok(Self { file: file.to_owned(), entries: entries(&text, table.get_ref()) })
    }

    /// Removes a table; `Err` if the key holds something else.
    pub(super) fn take_table(&mut self, key: &str) -> Result<Option<Table>, Problem> {
        let Some(entry) = take(&mut self.entries, key) else { return Ok(None) };
        let origin = Origin::File { file: self.file.clone(), line: entry.line, key: entry.key.clone() };
        match entry.value {
            Raw::Table(entries) => {
                Ok(Some(Table { file: self.file.clone(), name: entry.key, line: entry.line, entries }))
            }
            _ => Err(Problem { origin, message: format!("must be a table: [{key}]") }),
        }
    }
}

/// A table of a file, at its top or in another one.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) file: PathBuf,
    pub(super) name: String,
    /// Of its head.
    pub(super) line: usize,
    pub(super) entries: Vec<Entry>,
}

impl Table {
    /// Removes a key.
    pub(super) fn take(&mut self, key: &str) -> Option<(Origin, Raw)> {
        let entry = take(&mut self.entries, key)?;
        Some((self.origin(&entry.key, entry.line), entry.value))
    }

    /// Removes a table that is in this one; `Err` if the key holds something else.
    pub(super) fn take_table(&mut self, key: &str) -> Result<Option<Self>, Problem> {
        let Some(entry) = take(&mut self.entries, key) else { return Ok(None) };
        let name = format!("{}.{key}", self.name);
        match entry.value {
            Raw::Table(entries) => Ok(Some(Self { file: self.file.clone(), name, line: entry.line, entries })),
            _ => {
                let message = format!("must be a table: [{name}]");
                Err(Problem { origin: self.origin(key, entry.line), message })
            }
        }
    }

    /// Whether a key is still there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Where a key of this table stands.
    pub(super) fn origin(&self, key: &str, line: usize) -> Origin {
        Origin::File { file: self.file.clone(), line, key: format!("{}.{key}", self.name) }
    }

    /// Where the table starts.
    pub(super) fn head(&self) -> Origin {
        Origin::File { file: self.file.clone(), line: self.line, key: self.name.clone() }
    }
}

fn take(entries: &mut Vec<Entry>, key: &str) -> Option<Entry> {
    let index = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(index))
}

fn entries(text: &str, table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            line: line_at(text, key.span().start),
            value: raw(text, value),
        })
        .collect();
    // The parser sorts by name; a reader goes from top to bottom.
    entries.sort_by_key(|entry| entry.line);
    entries
}

fn raw(text: &str, value: &Spanned<DeValue<'_>>) -> Raw {
    let as_written = || Raw::Other(text.get(value.span()).unwrap_or_default().to_owned());
    match value.get_ref() {
        DeValue::String(string) => Raw::Text(string.to_string()),
        DeValue::Boolean(boolean) => Raw::Boolean(*boolean),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).map_or_else(|_| as_written(), Raw::Integer)
        }
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(text, item)).collect()),
        DeValue::Table(table) => Raw::Table(entries(text, table)),
        DeValue::Float(_) | DeValue::Datetime(_) => as_written(),
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
