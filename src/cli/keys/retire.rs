//! `keys retire`.

use clap::Args;

use crate::proto::v1;
use crate::proto::v1::key_service_client::KeyServiceClient;

use super::super::Streams;
use super::super::answer;
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};
use super::lines;

/// Sign with a key no more; it stays published until its last token has expired
#[derive(Debug, Args)]
pub(in crate::cli) struct Retire {
    /// Which key
    #[arg(value_name = "KID")]
    key_id: String,
}

impl Retire {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::RetireKeyRequest { realm: flags.realm(), key_id: self.key_id };
        let mut client = KeyServiceClient::new(flags.connect().await?);
        let answer = client.retire_key(request(message)).await;
        let answer = answer.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "RetireKeyResponse", &answer)?;
        } else {
            lines(&answer.key.unwrap_or_default()).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}
