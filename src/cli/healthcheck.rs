//! `healthcheck`: the standard health call, for container runtimes without a prober of their own.

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Streams;
use super::client::{ClientFlags, request};
use super::failure::{Exit, Failure};

/// Ask a server whether it serves (gRPC health checking)
#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// Which service: `liveness`, `readiness`, a full service name, or empty for the server
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    service: String,
}

impl Healthcheck {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let mut client = HealthClient::new(flags.connect().await?);
        let answer = client.check(request(HealthCheckRequest { service: self.service })).await;
        let status = answer.map_err(|status| flags.failure(&status))?.into_inner().status();
        let name = status.as_str_name();
        if flags.json {
            writeln!(streams.out, "{}", serde_json::json!({ "status": name }))?;
        } else {
            writeln!(streams.out, "{name}")?;
        }
        Ok(if status == ServingStatus::Serving { Exit::Done } else { Exit::Refused })
    }
}
