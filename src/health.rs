//! Whether this server should get traffic, told over gRPC health and HTTP alike. Liveness never
//! depends on the store: a restart mends no store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::authority::ports::{Clock, Store};
use crate::verify::revocations::RevocationIndex;

const CHECK_EVERY: Duration = Duration::from_secs(1);
/// What turns with readiness. `liveness` stays, and `""` is the server as a whole.
const SERVICES: [&str; 7] = [
    "",
    "readiness",
    "token_authority.v1.TokenService",
    "token_authority.v1.SessionService",
    "token_authority.v1.KeyService",
    "token_authority.v1.OtpService",
    "envoy.service.auth.v3.Authorization",
];

/// Whether the server is ready; shared by both edges.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Whether it is.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What readiness depends on.
#[derive(Debug, Clone)]
pub struct Watched {
    /// It must answer.
    pub store: Arc<dyn Store>,
    /// Its log must have been read.
    pub index: Arc<RevocationIndex>,
    /// It must be believable.
    pub clock: Arc<dyn Clock>,
}

impl Watched {
    async fn problem(&self) -> Option<String> {
        if let Err(error) = self.store.ready().await {
            return Some(error.to_string());
        }
        if let Err(error) = self.clock.in_order() {
            return Some(error.to_string());
        }
        (!self.index.is_complete()).then(|| "the revocation log has not been read".to_owned())
    }
}

/// Sets the statuses.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    readiness: Readiness,
    /// Once set, nothing makes the server ready again.
    stopping: Arc<AtomicBool>,
}

impl Health {
    /// Not serving yet, but alive.
    pub async fn starting(reporter: HealthReporter) -> Self {
        let health = Self { reporter, readiness: Readiness::default(), stopping: Arc::default() };
        health.reporter.set_service_status("liveness", ServingStatus::Serving).await;
        health.set(ServingStatus::NotServing).await;
        health
    }

    /// What the HTTP edge reads.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// No new traffic, please.
    pub async fn stopping(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.set(ServingStatus::NotServing).await;
    }

    /// Looks once a second until it is dropped.
    pub async fn watch(&self, watched: &Watched) {
        loop {
            self.check(watched).await;
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    /// Looks once.
    pub async fn check(&self, watched: &Watched) {
        let ready = match watched.problem().await {
            None => true,
            Some(problem) => {
                if self.readiness.is_ready() {
                    warn!(problem, "not ready");
                }
                false
            }
        };
        if ready != self.readiness.is_ready() && !self.stopping.load(Ordering::SeqCst) {
            info!(ready, "readiness changed");
            self.set(if ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        }
    }

    async fn set(&self, status: ServingStatus) {
        self.readiness.0.store(status == ServingStatus::Serving, Ordering::Relaxed);
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
