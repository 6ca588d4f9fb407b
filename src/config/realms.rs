//! All realms of a server: the one in its file, those in its realm directory, and `default`. Knows
//! no key of a realm.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::domain::ids::{Audience, ClientId, RealmName};
use crate::domain::policy::RealmPolicy;

use super::document::{Document, Table};
use super::layers::Setting;
use super::problem::{Origin, Problem, unknown};
use super::realm::{self, REALM, RealmTable};
use super::{DEFAULT_CLIENT, DEFAULT_REALM, Registered};

/// Reads every realm, sorted by name, and the clients of each.
pub(super) fn read(
    own: Option<Table>,
    directory: Setting<PathBuf>,
    problems: &mut Vec<Problem>,
) -> (Vec<RealmPolicy>, Registered) {
    let tables = own.into_iter().chain(in_directory(directory, problems));
    let mut heads: Vec<Origin> = Vec::new();
    let (mut policies, mut registered): (Vec<RealmPolicy>, _) = (Vec::new(), Registered::new());
    for table in tables {
        let head = table.head();
        let Some(RealmTable { policy, clients }) = realm::realm(table, problems) else { continue };
        match policies.iter().position(|other| other.realm == policy.realm) {
            Some(first) => {
                let message = format!("realm {:?} is defined at {} already", policy.realm.as_str(), heads[first]);
                problems.push(Problem { origin: head, message });
            }
            None => {
                if !clients.is_empty() {
                    registered.insert(policy.realm.clone(), clients);
                }
                policies.push(policy);
                heads.push(head);
            }
        }
    }
    (with_default(policies), registered)
}

/// Adds `default` unless it is there, and sorts by name.
pub(super) fn with_default(mut policies: Vec<RealmPolicy>) -> Vec<RealmPolicy> {
    if !policies.iter().any(|policy| policy.realm.as_str() == DEFAULT_REALM) {
        policies.extend(RealmName::parse(DEFAULT_REALM).ok().and_then(|name| permissive(&name)));
    }
    policies.sort_by(|a, b| a.realm.cmp(&b.realm));
    policies
}

/// A realm that says nothing but its name. `Some` for every name.
pub(super) fn permissive(name: &RealmName) -> Option<RealmPolicy> {
    let audience = Audience::parse(name.as_str()).ok()?;
    Some(RealmPolicy::permissive(name.clone(), audience, ClientId::parse(DEFAULT_CLIENT).ok()))
}

fn in_directory(directory: Setting<PathBuf>, problems: &mut Vec<Problem>) -> Vec<Table> {
    let Some(path) = directory.value else { return Vec::new() };
    let files = match toml_files(&path) {
        Ok(files) if !files.is_empty() => files,
        found => {
            let why = found.err().map_or_else(|| "holds no *.toml file".to_owned(), |error| error.to_string());
            problems.push(Problem { origin: directory.origin, message: format!("{}: {why}", path.display()) });
            return Vec::new();
        }
    };
    let read = files.iter().map(|file| realm_file(file, problems));
    read.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn toml_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("toml")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The one table of a file that may hold nothing else.
fn realm_file(file: &Path, problems: &mut Vec<Problem>) -> Option<Table> {
    let mut document = Document::read(file).map_err(|problem| problems.push(problem)).ok()?;
    let table = document.take_table(REALM);
    for entry in &document.entries {
        let origin = Origin::File { file: file.to_owned(), line: entry.line, key: String::new() };
        let message = format!("{} (this is a realm file)", unknown("table", &entry.key, &[REALM]));
        problems.push(Problem { origin, message });
    }
    if matches!(table, Ok(None)) {
        let origin = Origin::File { file: file.to_owned(), line: 0, key: String::new() };
        problems.push(Problem { origin, message: "a realm file must have a table [realm]".to_owned() });
    }
    table.map_err(|problem| problems.push(problem)).ok().flatten()
}
