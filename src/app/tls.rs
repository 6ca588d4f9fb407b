//! The listeners' certificates over the authority's clock, and their renewal.

use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::authority::ports::Clock;
use crate::config::TlsConfig;
use crate::listener::{Certificates, Tls};
use crate::tasks::Tasks;

use super::StartError;

/// What each edge speaks; `None`: plaintext.
#[derive(Default)]
pub(super) struct Edges {
    pub(super) grpc: Option<Tls>,
    pub(super) http: Option<Tls>,
}

impl Edges {
    /// Reads the certificates, and again from now on when their files change or SIGHUP comes.
    pub(super) fn open(config: Option<TlsConfig>, clock: Arc<dyn Clock>, tasks: &Tasks) -> Result<Self, StartError> {
        let Some(config) = config else { return Ok(Self::default()) };
        let certificates = Certificates::open(config, Arc::new(Time(clock)))?;
        let edges = Self { grpc: certificates.grpc(), http: certificates.http() };
        let hangups = super::hangups().map_err(|error| StartError::Other(error.to_string()))?;
        let hangups = stream::unfold(hangups, async |mut hangups| hangups.recv().await.map(|()| ((), hangups)));
        tasks.spawn_until_stopped(async move {
            certificates.follow(hangups).await;
        });
        Ok(edges)
    }
}

/// The authority's clock, as rustls asks for it.
#[derive(Debug)]
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.now().millis()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}
