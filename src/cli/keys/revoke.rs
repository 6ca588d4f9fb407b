//! `keys revoke`.

use clap::Args;

use crate::proto::v1;
use crate::proto::v1::key_service_client::KeyServiceClient;

use super::super::Streams;
use super::super::answer;
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};
use super::lines;

/// End a compromised key at once, with every token that it signed
#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// Which key
    #[arg(value_name = "KID")]
    key_id: String,
    /// Why, for the audit trail; no personal data
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl Revoke {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::RevokeKeyRequest { realm: flags.realm(), key_id: self.key_id, reason: self.reason };
        let mut client = KeyServiceClient::new(flags.connect().await?);
        let answer = client.revoke_key(request(message)).await;
        let answer = answer.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "RevokeKeyResponse", &answer)?;
        } else {
            lines(&answer.key.unwrap_or_default()).text("revision", &answer.revision).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}
