//! What is read when somebody asks, instead of being counted as it happens: how much waits, how much is
//! held, how old it is.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::authority::Authority;
use crate::authority::keys::KeyAge;
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
        let gauges = [
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
        let dropped = ConstCounter::new(self.authority.touches_dropped());
        let help = "Uses of sessions that were not written because too many waited";
        dropped.encode(encoder.encode_descriptor("session_touches_dropped", help, None, dropped.metric_type())?)?;
        let help = "Calls that a limit of their realm refused";
        let mut refused = encoder.encode_descriptor("rate_limited", help, None, MetricType::Counter)?;
        for (limit, count) in self.authority.rate_limited() {
            ConstCounter::new(count).encode(refused.encode_family(&[("limit", limit.name())])?)?;
        }
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
