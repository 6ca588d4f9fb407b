//! `keys activate`.

use clap::Args;

use crate::proto::v1;
use crate::proto::v1::key_service_client::KeyServiceClient;

use super::super::Streams;
use super::super::answer;
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};
use super::lines;

/// Sign with a prepared key from now on; the active one retires
#[derive(Debug, Args)]
pub(in crate::cli) struct Activate {
    /// Which key [default: the oldest prepared one]
    #[arg(value_name = "KID", default_value = "", hide_default_value = true)]
    key_id: String,
    /// Skip the publish-ahead time: verifiers refuse new tokens until they fetch the key set again
    #[arg(long)]
    now: bool,
}

impl Activate {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::ActivateKeyRequest { realm: flags.realm(), key_id: self.key_id, immediate: self.now };
        let mut client = KeyServiceClient::new(flags.connect().await?);
        let answer = client.activate_key(request(message)).await;
        let answer = answer.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "ActivateKeyResponse", &answer)?;
        } else {
            lines(&answer.key.unwrap_or_default()).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}
