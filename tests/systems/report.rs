//! What the systems need and what was shown of it: the list that the rows are held to, and the table at
//! the end of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::backend::Store;
use crate::rows::{Row, System};

/// How many rows each system has, by the letter that they begin with.
const ROWS: [(char, usize); 5] = [('A', 12), ('B', 13), ('C', 11), ('D', 9), ('E', 9)];

/// Rows without a test, and what they wait for.
const NOT_YET: [(&str, &str); 15] = [
    ("B4", "callers are not told apart yet"),
    ("B5", "WatchSessions is not served yet"),
    ("B6", "activity is logged, but can't be asked for yet"),
    ("B7", "devices are not trusted yet"),
    ("B8", "nothing assesses sessions yet"),
    ("C5", "there are no analytics yet"),
    ("C6", "there are no analytics yet"),
    ("C7", "events are logged, but can't be asked for yet"),
    ("C8", "nothing assesses sessions yet"),
    ("C9", "there are no reports yet"),
    ("C11", "there are no analytics to measure yet; `make bench` prints the rest"),
    ("D6", "no rate is limited yet"),
    ("E6", "a realm can't fold messages yet"),
    ("E7", "the middleware takes no HS256 tokens yet"),
    ("E8", "there are no one-time codes yet"),
];

/// One row on one store.
pub(crate) struct Shown {
    pub(crate) row: &'static str,
    pub(crate) store: Store,
    /// Calls that the server answered meanwhile.
    pub(crate) calls: u64,
}

/// What was shown. A row that failed is not in it.
#[derive(Default)]
pub(crate) struct Report(Mutex<Vec<Shown>>);

impl Report {
    pub(crate) fn add(&self, shown: Shown) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(shown);
    }

    /// Rows by stores, each with the calls that it made; nothing where no row ran.
    pub(crate) fn table(&self, systems: &[System]) -> String {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if shown.is_empty() {
            return text;
        }
        let cell = |row: &Row, store: Store| {
            let shown = shown.iter().find(|shown| shown.row == row.name && shown.store == store);
            shown.map_or("-".to_owned(), |shown| format!("{} calls", shown.calls))
        };
        let _ = writeln!(text, "{:<5}{:<88}{:>11}{:>11}", "row", "what was shown", "embedded", "redis");
        for system in systems {
            let _ = writeln!(text, "deploy/realms/{}.toml", system.realm);
            for row in system.rows {
                let (id, what) = row.name.split_once('_').expect("an id and what it shows");
                let (id, what) = (id.to_uppercase(), what.replace('_', " "));
                let [embedded, redis] = Store::ALL.map(|store| cell(row, store));
                let _ = writeln!(text, "{id:<5}{what:<88}{embedded:>11}{redis:>11}");
            }
        }
        for (id, reason) in NOT_YET {
            let _ = writeln!(text, "{id:<5}not yet: {reason}");
        }
        let both = systems.iter().flat_map(|system| system.rows);
        let both = both.filter(|row| Store::ALL.iter().all(|store| cell(row, *store) != "-")).count();
        let all: usize = ROWS.iter().map(|(_, rows)| rows).sum();
        let _ = writeln!(text, "{both} of {all} rows shown on both stores, {} not yet", NOT_YET.len());
        text
    }
}

/// Each row has one test or one reason why there is none, and nothing else has.
pub(crate) fn check_complete(systems: &[System]) -> Result<(), String> {
    let tests = systems.iter().flat_map(|system| system.rows).map(Row::id);
    let mut times = BTreeMap::<String, usize>::new();
    for id in tests.chain(NOT_YET.map(|(id, _)| id.to_owned())) {
        *times.entry(id).or_default() += 1;
    }
    let required = ROWS.iter().flat_map(|(letter, rows)| (1..=*rows).map(move |row| format!("{letter}{row}")));
    let mut problems: Vec<_> = required
        .filter_map(|id| match times.remove(&id) {
            Some(1) => None,
            Some(times) => Some(format!("{id} is there {times} times")),
            None => Some(format!("{id} is missing")),
        })
        .collect();
    problems.extend(times.keys().map(|id| format!("{id} is unknown")));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}
