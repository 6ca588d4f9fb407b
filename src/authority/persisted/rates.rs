//! What was used of the limits on a subject, as its record has it: nanoseconds after the record's
//! `changed`, and nothing where none is left over.

use prost::Message;

use crate::domain::rate_limit::Used;
use crate::domain::subject::Rates;
use crate::domain::time::Timestamp;

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct StoredRates {
    #[prost(uint64, tag = "1")]
    refreshes: u64,
    #[prost(uint64, tag = "2")]
    logins: u64,
}

/// `None` where nothing is used.
pub(super) fn encode_rates(rates: Rates, changed: Timestamp) -> Option<StoredRates> {
    let after = |used: Used| u64::try_from(used.to_nanos().saturating_sub(nanos(changed))).unwrap_or(0);
    let used = StoredRates { refreshes: after(rates.refreshes), logins: after(rates.logins) };
    (used != StoredRates::default()).then_some(used)
}

pub(super) fn decode_rates(rates: StoredRates, changed: Timestamp) -> Rates {
    let used = |after: u64| match i64::try_from(after) {
        Ok(after) if after > 0 => Used::from_nanos(nanos(changed).saturating_add(after)),
        _ => Used::default(),
    };
    Rates { refreshes: used(rates.refreshes), logins: used(rates.logins) }
}

fn nanos(time: Timestamp) -> i64 {
    time.millis().saturating_mul(1_000_000)
}
