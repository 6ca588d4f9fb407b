//! The table `[realm.devices]`: what a realm makes of its users' devices, and within which bounds.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::domain::device::{DEVICE_REMEMBERED, DevicePolicy, OnChange, Silent, Untrusted};
use crate::domain::policy::{MAX_ACCESS_LIFETIME, MAX_SESSION_LIFETIME, RealmPolicy};

use super::document::{Raw, Table};
use super::problem::Problem;
use super::reader::Reader;
use super::value;

/// The table in a realm's.
pub(super) const NAME: &str = "devices";

/// Each key of it.
pub(super) const KEYS: [&str; 7] = [
    "trust_lifetime",
    "on_change",
    "silent",
    "untrusted",
    "untrusted_access_lifetime",
    "untrusted_session_lifetime",
    "remember",
];

const SECOND: Duration = Duration::from_secs(1);
const TRUST_LIFETIME: RangeInclusive<Duration> = SECOND..=MAX_SESSION_LIFETIME;
const ACCESS_LIFETIME: RangeInclusive<Duration> = SECOND..=MAX_ACCESS_LIFETIME;
const SESSION_LIFETIME: RangeInclusive<Duration> = SECOND..=MAX_SESSION_LIFETIME;
/// As long as a device can be remembered that nobody trusts.
const REMEMBER: RangeInclusive<Duration> = Duration::ZERO..=DEVICE_REMEMBERED;

/// Reads the table of the realm with this policy.
pub(super) fn read(table: Table, realm: &RealmPolicy, problems: &mut Vec<Problem>) -> DevicePolicy {
    let mut reader = Reader::new(table, &KEYS, problems);
    let mut policy = DevicePolicy::default();
    reader.set(&mut policy.trust_lifetime, "trust_lifetime", |raw| value::duration(raw, &TRUST_LIFETIME, SECOND));
    let changes = [("note", OnChange::Note), ("untrust", OnChange::Untrust), ("refuse", OnChange::Refuse)];
    reader.set(&mut policy.on_change, "on_change", |raw| value::one_of(raw, &changes));
    let silent = [("same", Silent::Same), ("refuse", Silent::Refuse)];
    reader.set(&mut policy.silent, "silent", |raw| value::one_of(raw, &silent));
    let untrusted = [("allow", Untrusted::Allow), ("refuse", Untrusted::Refuse)];
    reader.set(&mut policy.untrusted, "untrusted", |raw| value::one_of(raw, &untrusted));
    reader.set(&mut policy.untrusted_access_lifetime, "untrusted_access_lifetime", |raw| {
        shorter(raw, &ACCESS_LIFETIME, "access_lifetime", realm.access_lifetime)
    });
    reader.set(&mut policy.untrusted_session_lifetime, "untrusted_session_lifetime", |raw| {
        shorter(raw, &SESSION_LIFETIME, "session_lifetime", realm.session_lifetime)
    });
    reader.set(&mut policy.remember, "remember", |raw| value::duration(raw, &REMEMBER, SECOND));
    reader.finish();
    policy
}

/// A lifetime that is not longer than that of a trusted device; `"none"`: the same.
fn shorter(
    raw: &Raw,
    bounds: &RangeInclusive<Duration>,
    name: &str,
    trusted: Duration,
) -> Result<Option<Duration>, String> {
    if value::text(raw) == Some("none") {
        return Ok(None);
    }
    let lifetime = value::duration(raw, bounds, SECOND).map_err(|allowed| format!("{allowed}; or \"none\""))?;
    if lifetime > trusted {
        let trusted = humantime::format_duration(trusted);
        return Err(format!("must not be longer than {name} = {trusted}, which a trusted device gets"));
    }
    Ok(Some(lifetime))
}
