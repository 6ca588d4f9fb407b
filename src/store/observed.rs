//! A store that is measured: how long each call of the port takes, and how it ends. Decorates any store
//! and changes nothing.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::authority::ports::{Commit, LogUpdate, Outcome, RecordKey, Seen, Store, StoreError, Stored};
use crate::domain::revocation::Revision;

/// From a read in memory to the deadline of a call.
const BUCKETS: [f64; 11] = [0.00005, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    operation: &'static str,
    outcome: &'static str,
}

/// Measures the store below it.
pub struct ObservedStore {
    inner: Arc<dyn Store>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl ObservedStore {
    /// Over a store; registered where the measures are read.
    pub fn new(inner: Arc<dyn Store>, registry: &mut Registry) -> Self {
        let durations = Family::<_, _, fn() -> Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let help = "Duration of the store's calls, by operation and how they ended";
        registry.register_with_unit("store_operation_duration", help, Unit::Seconds, durations.clone());
        Self { inner, durations }
    }

    fn note(&self, operation: &'static str, outcome: &'static str, started: Instant) {
        self.durations.get_or_create(&Labels { operation, outcome }).observe(started.elapsed().as_secs_f64());
    }
}

fn failure(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => "unavailable",
        StoreError::OutcomeUnknown(_) => "outcome_unknown",
        StoreError::Full(_) => "full",
        StoreError::Corrupt(_) => "corrupt",
    }
}

#[async_trait]
impl Store for ObservedStore {
    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn partition(&self, key: &RecordKey) -> u16 {
        self.inner.partition(key)
    }

    async fn load(&self, key: &RecordKey) -> Result<Option<Stored>, StoreError> {
        let started = Instant::now();
        let answer = self.inner.load(key).await;
        self.note("load", answer.as_ref().map_or_else(failure, |_| "ok"), started);
        answer
    }

    async fn commit(&self, commit: &Commit) -> Result<Outcome, StoreError> {
        let started = Instant::now();
        let answer = self.inner.commit(commit).await;
        let outcome = match &answer {
            Ok(Outcome::Committed(_)) => "ok",
            Ok(Outcome::Conflict) => "conflict",
            Err(error) => failure(error),
        };
        self.note("commit", outcome, started);
        answer
    }

    async fn proof(&self, key: &RecordKey) -> Result<Revision, StoreError> {
        let started = Instant::now();
        let answer = self.inner.proof(key).await;
        self.note("proof", answer.as_ref().map_or_else(failure, |_| "ok"), started);
        answer
    }

    async fn follow(&self) -> Result<mpsc::Receiver<LogUpdate>, StoreError> {
        let started = Instant::now();
        let answer = self.inner.follow().await;
        self.note("follow", answer.as_ref().map_or_else(failure, |_| "ok"), started);
        answer
    }

    async fn watch(&self, key: &RecordKey) -> Result<watch::Receiver<Seen>, StoreError> {
        let started = Instant::now();
        let answer = self.inner.watch(key).await;
        self.note("watch", answer.as_ref().map_or_else(failure, |_| "ok"), started);
        answer
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready().await
    }
}

impl fmt::Debug for ObservedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObservedStore({:?})", self.inner)
    }
}
