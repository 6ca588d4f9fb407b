//! Delivers one-time codes: takes them from the authority as they are made, and sends each until it is
//! taken or void. Behind the answers, and with no rule of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tracing::{info, warn};

use crate::authority::Authority;
use crate::authority::outbox::{CodeMessage, CodeQueue, Placed};
use crate::clock::Clock;
use crate::domain::one_time_code::CodeDelivery;
use crate::domain::policy::RealmPolicy;

mod webhook;

use webhook::{Secret, Undelivered, Webhook};

/// Codes of one realm that are sent at the same time.
const AT_A_TIME: usize = 64;
/// After a first failure, and twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A minute in all.
const MOST_TRIES: u32 = 8;

/// A realm's codes could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The webhook's secret.
    #[error("otp.webhook_secret_file {}: {problem}", file.display())]
    Secret {
        /// The file.
        file: PathBuf,
        /// What it must be.
        problem: String,
    },
    /// The certificates of the system.
    #[error("the system's certificates can't be read: {0}")]
    Roots(String),
}

/// Whether the codes of these realms can be delivered, as far as that can be known before.
pub fn check(policies: &[RealmPolicy]) -> Result<(), DeliveryError> {
    for codes in policies.iter().filter_map(|policy| policy.codes.as_ref()) {
        match &codes.delivery {
            CodeDelivery::Webhook { secret_file, .. } => drop(Secret::read(secret_file)?),
            CodeDelivery::Log => warn!("one-time codes are written into this log: for development alone"),
        }
    }
    Ok(())
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    realm: String,
    outcome: &'static str,
}

/// Sends codes.
#[derive(Debug)]
pub struct Delivery {
    webhook: Webhook,
    clock: Arc<dyn Clock>,
    outcomes: Family<Labels, Counter>,
}

impl Delivery {
    /// For whatever realms there will be; its meters are registered where they are read.
    pub fn new(clock: Arc<dyn Clock>, registry: &mut Registry) -> Result<Self, DeliveryError> {
        let outcomes = Family::default();
        registry.register("one_time_code_deliveries", "One-time codes by realm and how they ended", outcomes.clone());
        Ok(Self { webhook: Webhook::new()?, clock, outcomes })
    }

    /// Delivers what the authority makes, for as long as it is awaited.
    pub async fn run(self, authority: Arc<Authority>) {
        let queues = futures::stream::unfold(authority, async |authority| {
            let next = authority.next_code_queue().await?;
            Some((next, authority))
        });
        // A realm whose webhook hangs waits for it alone.
        queues.for_each_concurrent(None, |queue| self.serve(queue)).await;
    }

    async fn serve(&self, queue: CodeQueue) {
        let placed = UnboundedReceiverStream::new(queue);
        let deliver = async |Placed { message, place }| {
            let outcome = self.deliver(&message).await;
            self.outcomes.get_or_create(&Labels { realm: message.realm.to_string(), outcome }).inc();
            drop(place);
        };
        placed.for_each_concurrent(AT_A_TIME, deliver).await;
    }

    /// How it ended.
    async fn deliver(&self, message: &CodeMessage) -> &'static str {
        let realm = message.realm.as_str();
        let (url, secret_file) = match &message.delivery {
            CodeDelivery::Log => {
                info!(realm, code = message.code.as_str(), "one-time code");
                return "delivered";
            }
            CodeDelivery::Webhook { url, secret_file } => (url, secret_file),
        };
        for tries in 0..MOST_TRIES {
            if tries > 0 {
                tokio::time::sleep(FIRST_PAUSE * (1 << (tries - 1))).await;
            }
            let now = self.clock.now();
            if now >= message.expires {
                break;
            }
            match self.webhook.post(url, secret_file, message, now).await {
                Ok(()) => return "delivered",
                Err(Undelivered::Refused(status)) => {
                    warn!(realm, status, "the webhook refused a one-time code");
                    return "refused";
                }
                Err(Undelivered::Failed(cause)) => warn!(realm, cause, "a one-time code was not delivered yet"),
            }
        }
        warn!(realm, "a one-time code was not delivered");
        "failed"
    }
}
