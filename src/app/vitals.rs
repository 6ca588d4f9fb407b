//! What is read when somebody asks, instead of being counted as it happens: how much waits, how much is
//! held, how old it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::authority::Authority;
use crate::authority::company::NAMED;
use crate::authority::keys::KeyAge;
use crate::authority::revocation_feed::Lagging;
use crate::health::Readiness;
use crate::verify::revocations::RevocationIndex;

/// Gauges of a running server.
#[derive(Debug)]
pub(super) struct Vitals {
    pub(super) authority: Arc<Authority>,
    pub(super) index: Arc<RevocationIndex>,
    pub(super) readiness: Readiness,
}

impl Collector for Vitals {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (subscribers, lagging) = (self.authority.feed().subscribers(), self.authority.feed().lagging());
        let gauges = [
            ("revocation_subscribers", "Streams of FollowRevocations open here", count(subscribers.values().sum())),
            ("revocation_subscribers_lagging", "Those that owe a receipt for seconds", count(lagging.len())),
            ("signing_queue_waiting", "Signatures that wait for a thread", count(self.authority.signer().waiting())),
            ("revocation_index_entries", "Revocations held in memory", count(self.index.len())),
            ("server_ready", "Whether the server wants traffic: 1 or 0", i64::from(self.readiness.is_ready())),
        ];
        let unit = Some(&Unit::Seconds);
        let stale = ConstGauge::new(self.index.staleness().as_secs_f64());
        let help = "How long ago the revocation log was known to be read to its end";
        stale.encode(encoder.encode_descriptor("revocation_log_staleness", help, unit, stale.metric_type())?)?;
        let help = "For how long the active key has signed";
        let mut ages = encoder.encode_descriptor("signing_key_age", help, unit, MetricType::Gauge)?;
        for KeyAge { realm, algorithm, age } in self.authority.key_ages() {
            let labels = [("realm", realm.as_str()), ("algorithm", algorithm.name())];
            ConstGauge::new(age.as_secs_f64()).encode(ages.encode_family(&labels)?)?;
        }
        let worst = ConstGauge::new(lagging.first().map_or(0.0, |worst| worst.lag.as_secs_f64()));
        let help = "For how long the subscriber that lags most has owed a receipt";
        worst.encode(encoder.encode_descriptor(
            "revocation_subscriber_worst_lag",
            help,
            unit,
            worst.metric_type(),
        )?)?;
        let help = "For how long each of the subscribers that lag most has owed a receipt";
        let mut lags = encoder.encode_descriptor("revocation_subscriber_lag", help, unit, MetricType::Gauge)?;
        for (labels, lag) in named(&lagging) {
            ConstGauge::new(lag.as_secs_f64()).encode(lags.encode_family(&labels)?)?;
        }
        let dropped = ConstCounter::new(self.authority.touches_dropped());
        let help = "Uses of sessions that were not written because too many waited";
        dropped.encode(encoder.encode_descriptor("session_touches_dropped", help, None, dropped.metric_type())?)?;
        let help = "Calls that a limit of their realm refused";
        let mut refused = encoder.encode_descriptor("rate_limited", help, None, MetricType::Counter)?;
        for (limit, count) in self.authority.rate_limited() {
            ConstCounter::new(count).encode(refused.encode_family(&[("limit", limit.name())])?)?;
        }
        let help = "One-time codes that are not delivered yet";
        let mut waiting = encoder.encode_descriptor("one_time_codes_waiting", help, None, MetricType::Gauge)?;
        for (realm, codes) in self.authority.undelivered_codes() {
            ConstGauge::new(count(codes)).encode(waiting.encode_family(&[("realm", realm.as_str())])?)?;
        }
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// The worst of each name, so that no two have the same labels; no more of them than operators read.
fn named(lagging: &[Lagging]) -> Vec<([(&'static str, &str); 2], Duration)> {
    let mut named: Vec<(_, Duration)> = Vec::new();
    for one in lagging {
        let labels = [("realm", one.realm.as_str()), ("subscriber", one.name.as_str())];
        if named.len() < NAMED && named.iter().all(|(known, _)| *known != labels) {
            named.push((labels, one.lag));
        }
    }
    named
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
