//! The table `[realm.keys]`: how a realm's signing keys rotate, and within which bounds.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::domain::algorithm::Algorithm;
use crate::domain::key_ring::KeyPolicy;

use super::document::{Raw, Table};
use super::problem::Problem;
use super::reader::Reader;
use super::value;

/// The table in a realm's.
pub(super) const NAME: &str = "keys";

/// Each key of it.
pub(super) const KEYS: [&str; 3] = ["lifetime", "publish_ahead", "algorithms"];

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const LIFETIME: RangeInclusive<Duration> = Duration::from_secs(3_600)..=Duration::from_secs(3_650 * 86_400);
/// Below ten minutes HTTP caches, which keep a key set for five, and instances, which look every half a
/// minute, would be most of it.
const PUBLISH_AHEAD: RangeInclusive<Duration> = Duration::from_secs(600)..=Duration::from_secs(7 * DAY.as_secs());

/// Reads the table.
pub(super) fn read(table: Table, problems: &mut Vec<Problem>) -> KeyPolicy {
    let mut reader = Reader::new(table, &KEYS, problems);
    let mut policy = KeyPolicy::default();
    let head = reader.head();
    reader.set(&mut policy.publish_ahead, "publish_ahead", |raw| value::duration(raw, &PUBLISH_AHEAD, SECOND));
    let at = reader.set(&mut policy.lifetime, "lifetime", |raw| match value::text(raw) {
        Some("none") => Ok(None),
        _ => value::duration(raw, &LIFETIME, SECOND).map(Some).map_err(|allowed| format!("{allowed}; or \"none\"")),
    });
    reader.set(&mut policy.algorithms, "algorithms", algorithms);
    if let Some(lifetime) = policy.lifetime.filter(|lifetime| *lifetime < 2 * policy.publish_ahead) {
        let text = |duration| humantime::format_duration(duration).to_string();
        let (lifetime, ahead) = (text(lifetime), text(policy.publish_ahead));
        let message = format!("lifetime = {lifetime} must be at least twice publish_ahead = {ahead}");
        reader.wrong(at.unwrap_or(head), message);
    }
    reader.finish();
    policy
}

fn algorithms(raw: &Raw) -> Result<BTreeSet<Algorithm>, String> {
    let names = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    match raw {
        Raw::List(items) => items
            .iter()
            .map(|item| value::one_of(item, &names).map_err(|allowed| format!("{item}: {allowed}")))
            .collect(),
        _ => Err("must be a list of algorithms, such as [\"ES256\"]".to_owned()),
    }
}
