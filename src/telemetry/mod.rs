//! Logs on standard error, and traces to a collector where one is configured. What is logged is
//! decided where it happens; of a trace, `call` alone decides what it says.

use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::warn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, TraceConfig};

pub mod call;
pub mod call_meter;
mod export;
mod lines;
pub mod panics;
mod trace_parent;

/// What a stop waits at most for a collector that does not answer.
const FLUSH: Duration = Duration::from_secs(1);

/// What observes a process.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts it for the process; a second call changes nothing. Needs a runtime, on which traces are
    /// exported.
    pub fn start(log: &LogConfig, traces: &TraceConfig) -> Result<Self, ExporterBuildError> {
        let traces = traces.otlp_endpoint.as_deref().map(export::provider).transpose()?;
        let spans = traces.as_ref().map(export::spans);
        let _ = tracing_subscriber::registry().with(lines::lines(log, std::io::stderr)).with(spans).try_init();
        Ok(Self { traces })
    }

    /// Exports what was not yet exported.
    pub async fn finish(self) {
        let Some(traces) = self.traces else { return };
        // It blocks its thread, at most for the time that it is given.
        let flushed = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(FLUSH)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            warn!("some traces could not be exported");
        }
    }
}
