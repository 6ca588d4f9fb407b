//! The table `[realm.rate_limits]`: how often a subject, a caller and an address may do what.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::domain::rate_limit::{RateLimit, RateLimits};

use super::document::{Raw, Table};
use super::problem::Problem;
use super::reader::Reader;
use super::value;

/// The table in a realm's.
pub(super) const NAME: &str = "rate_limits";

/// Each key of it.
pub(super) const KEYS: [&str; 4] = ["refresh_by_subject", "issue_by_subject", "by_caller", "by_ip"];

const COUNT: RangeInclusive<u32> = 1..=1_000_000;
const PERIOD: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// Reads the table.
pub(super) fn read(table: Table, problems: &mut Vec<Problem>) -> RateLimits {
    let mut reader = Reader::new(table, &KEYS, problems);
    let mut limits = RateLimits::default();
    reader.set(&mut limits.refresh_by_subject, "refresh_by_subject", limit);
    reader.set(&mut limits.issue_by_subject, "issue_by_subject", limit);
    reader.set(&mut limits.by_caller, "by_caller", limit);
    reader.set(&mut limits.by_ip, "by_ip", limit);
    reader.finish();
    limits
}

/// Parses `"30/1m"`, or `"none"`.
fn limit(raw: &Raw) -> Result<Option<RateLimit>, String> {
    let text = value::text(raw);
    if text == Some("none") {
        return Ok(None);
    }
    let limit = text.and_then(|text| text.split_once('/')).and_then(|(count, period)| {
        let count = count.parse().ok().filter(|count| COUNT.contains(count))?;
        let period = humantime::parse_duration(period).ok()?;
        let whole = PERIOD.contains(&period) && period.subsec_nanos() == 0;
        if whole { RateLimit::new(count, period) } else { None }
    });
    limit.map(Some).ok_or_else(|| {
        format!(
            "must be a number and a time in quotes such as \"30/1m\", from {} to {} in {} to {}, in whole seconds; or \
             \"none\"",
            COUNT.start(),
            COUNT.end(),
            humantime::format_duration(*PERIOD.start()),
            humantime::format_duration(*PERIOD.end()),
        )
    })
}
