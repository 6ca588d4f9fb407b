//! `keys prepare`.

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::domain::algorithm::Algorithm;
use crate::proto::v1;
use crate::proto::v1::key_service_client::KeyServiceClient;

use super::super::Streams;
use super::super::answer;
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};
use super::lines;

/// Make a key and publish it ahead of its first use
#[derive(Debug, Args)]
pub(in crate::cli) struct Prepare {
    /// RS256, PS256, ES256, EdDSA or HS256, if the realm has keys of it [default: the one that signs]
    #[arg(long, value_name = "NAME", value_parser = algorithm())]
    algorithm: Option<String>,
    /// Names the request: the same one again makes no second key
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    request_id: String,
}

impl Prepare {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::PrepareKeyRequest {
            realm: flags.realm(),
            algorithm: self.algorithm.unwrap_or_default(),
            request_id: self.request_id,
        };
        let mut client = KeyServiceClient::new(flags.connect().await?);
        let answer = client.prepare_key(request(message)).await;
        let answer = answer.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "PrepareKeyResponse", &answer)?;
        } else {
            lines(&answer.key.unwrap_or_default()).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}

pub(super) fn algorithm() -> PossibleValuesParser {
    PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::name))
}
