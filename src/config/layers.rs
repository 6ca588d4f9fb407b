//! File and environment as one: each key read from both, the environment winning, and nothing in
//! either left unread. Knows the keys, not what they mean.

use std::fs;
use std::path::Path;

use super::document::{Document, Raw, Table};
use super::environment::{self, Environment};
use super::problem::{Origin, Problem, unknown};
use super::realm::REALM;
use super::value;

/// Each key of a configuration file.
pub(super) const SECTIONS: [(&str, &[&str]); 7] = [
    (
        "server",
        &[
            "grpc",
            "http",
            "health",
            "public_url",
            "insecure",
            "anonymous",
            "max_connections",
            "peer_timeout",
            "handshake_timeout",
            "connection_age",
            "realms",
        ],
    ),
    ("tls", &["certificate", "key", "client_ca", "grpc", "http"]),
    ("store", &["url", "accept_unsafe", "max_staleness"]),
    ("keys", &["encryption_key_file", "previous_encryption_key_file"]),
    ("kubernetes", &["issuer", "audience", "jwks_file", "jwks_url"]),
    ("log", &["format", "level"]),
    ("telemetry", &["otlp_endpoint", "trace_ratio"]),
];

/// Keys whose value may hold a password: never repeated in a message, and read from a file where the
/// environment names one (`…_FILE`), as orchestrators mount secrets.
const SECRETS: [(&str, &str); 1] = [("store", "url")];

/// A value, if anybody gave one, and who did.
#[derive(Debug)]
pub(super) struct Setting<T> {
    pub(super) value: Option<T>,
    pub(super) origin: Origin,
}

impl<T> Setting<T> {
    /// The flag's value instead, if it is set.
    pub(super) fn or_flag(self, flag: Option<T>, name: &'static str) -> Self {
        match flag {
            Some(value) => Self { value: Some(value), origin: Origin::Flag(name) },
            None => self,
        }
    }

    /// The default, where nobody said anything.
    pub(super) fn or_default(self, default: T) -> Self {
        Self { value: Some(self.value.unwrap_or(default)), ..self }
    }
}

/// The layers below the flags.
#[derive(Debug)]
pub(super) struct Layers<'a> {
    tables: Vec<Table>,
    realm: Option<Table>,
    environment: &'a Environment,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Layers<'a> {
    /// Reads the file, if there is one.
    pub(super) fn open(file: Option<&Path>, environment: &'a Environment, problems: &'a mut Vec<Problem>) -> Self {
        let document = file.and_then(|file| Document::read(file).map_err(|problem| problems.push(problem)).ok());
        let mut layers = Self { tables: Vec::new(), realm: None, environment, problems };
        if let Some(document) = document {
            layers.split(document);
        }
        layers
    }

    fn split(&mut self, mut document: Document) {
        for (section, _) in SECTIONS {
            let table = self.noted(document.take_table(section));
            self.tables.extend(table);
        }
        self.realm = self.noted(document.take_table(REALM));
        let known: Vec<_> = SECTIONS.iter().map(|(section, _)| *section).chain([REALM]).collect();
        for entry in document.entries {
            let origin = Origin::File { file: document.file.clone(), line: entry.line, key: String::new() };
            let what = if entry.value.is_table() { "table" } else { "key" };
            self.problems.push(Problem { origin, message: unknown(what, &entry.key, &known) });
        }
    }

    fn noted(&mut self, table: Result<Option<Table>, Problem>) -> Option<Table> {
        table.map_err(|problem| self.problems.push(problem)).ok().flatten()
    }

    /// Reads a key. `parse` says what is allowed; a wrong value is noted even if another layer wins.
    pub(super) fn read<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        parse: impl Fn(&Raw) -> Result<T, String>,
    ) -> Setting<T> {
        let in_file = self.tables.iter_mut().find(|table| table.name == section).and_then(|table| table.take(key));
        let mut setting = Setting { value: None, origin: Origin::Default };
        for (origin, raw) in
            in_file.into_iter().chain(self.shared_variable(section, key)).chain(self.variable(section, key))
        {
            match parse(&raw) {
                Ok(value) => setting = Setting { value: Some(value), origin },
                Err(message) => {
                    let secret = SECRETS.contains(&(section, key));
                    let message = if secret { message } else { value::refused(&raw, message) };
                    self.problems.push(Problem { origin, message });
                }
            }
        }
        setting
    }

    /// The table `[realm]`, if the file has one.
    pub(super) fn realm(&mut self) -> Option<Table> {
        self.realm.take()
    }

    /// Notes every key and variable that nobody has read.
    pub(super) fn finish(self) {
        for table in &self.tables {
            let known = SECTIONS.iter().find(|(section, _)| *section == table.name).map_or(&[][..], |(_, keys)| *keys);
            for entry in &table.entries {
                let origin = table.origin(&entry.key, entry.line);
                self.problems.push(Problem { origin, message: unknown("key", &entry.key, known) });
            }
        }
        let known = variables();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        for name in self.environment.names().filter(|name| !known.contains(name)) {
            let origin = Origin::Environment(name.to_owned());
            self.problems.push(Problem { origin, message: unknown("variable", name, &known) });
        }
    }

    /// What a variable says that is not ours alone. An empty one says nothing, by its specification.
    fn shared_variable(&self, section: &str, key: &str) -> Option<(Origin, Raw)> {
        let (name, ..) = environment::SHARED.iter().find(|(_, of, key_of)| (*of, *key_of) == (section, key))?;
        let text = self.environment.value(name)?.to_string_lossy();
        (!text.is_empty()).then(|| (Origin::Environment((*name).to_owned()), Raw::Word(text.into_owned())))
    }

    fn variable(&mut self, section: &str, key: &str) -> Option<(Origin, Raw)> {
        let name = environment::name(section, key);
        let direct = self.environment.value(&name);
        let file_name = format!("{name}_FILE");
        let file = self.environment.value(&file_name).filter(|_| SECRETS.contains(&(section, key)));
        let (name, read) = match (direct, file) {
            (None, None) => return None,
            (Some(_), Some(_)) => (file_name, Err(format!("{name} is set too: keep one of them"))),
            (Some(value), None) => {
                (name, value.to_str().map(str::to_owned).ok_or_else(|| "must be UTF-8 text".to_owned()))
            }
            (None, Some(path)) => {
                let read = fs::read_to_string(path).map(|text| text.trim().to_owned());
                (file_name, read.map_err(|error| format!("{}: can't be read: {error}", Path::new(path).display())))
            }
        };
        let origin = Origin::Environment(name);
        match read {
            Ok(text) => Some((origin, Raw::Word(text))),
            Err(message) => {
                self.problems.push(Problem { origin, message });
                None
            }
        }
    }
}

/// Every variable that may be set.
fn variables() -> Vec<String> {
    let keys = SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| environment::name(section, key)));
    let files = SECRETS.iter().map(|(section, key)| format!("{}_FILE", environment::name(section, key)));
    keys.chain(files).collect()
}
