//! Whether this server should get traffic, told over gRPC health and HTTP alike. Liveness never
//! depends on the store: a restart mends no store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::authority::ports::Store;
use crate::verify::revocations::RevocationIndex;

const CHECK_EVERY: Duration = Duration::from_secs(1);
/// What turns with readiness. `liveness` stays, and `""` is the server as a whole.
const SERVICES: [&str; 4] = ["", "readiness", "token_authority.v1.TokenService", "token_authority.v1.SessionService"];

/// Whether the server is ready; shared by both edges.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Whether it is.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets the statuses.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    readiness: Readiness,
}

impl Health {
    /// Not serving yet, but alive.
    pub async fn starting(reporter: HealthReporter) -> Self {
        let health = Self { reporter, readiness: Readiness::default() };
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
        self.set(ServingStatus::NotServing).await;
    }

    /// Follows the store and the revocation index until it is dropped.
    pub async fn watch(&self, store: Arc<dyn Store>, index: Arc<RevocationIndex>) {
        loop {
            self.check(&*store, &index).await;
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    /// Looks once.
    pub async fn check(&self, store: &dyn Store, index: &RevocationIndex) {
        let ready = match store.ready().await {
            Ok(()) => index.is_complete(),
            Err(error) => {
                if self.readiness.is_ready() {
                    warn!(%error, "not ready");
                }
                false
            }
        };
        if ready != self.readiness.is_ready() {
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
