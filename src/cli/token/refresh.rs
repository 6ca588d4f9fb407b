//! `token refresh`.

use clap::Args;

use crate::proto::v1;
use crate::proto::v1::token_service_client::TokenServiceClient;

use super::super::Streams;
use super::super::answer;
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};

/// Trade a refresh token for the next pair
#[derive(Debug, Args)]
pub(in crate::cli) struct Refresh {
    /// The refresh token, or - for standard input, where no process list shows it
    token: String,
    /// The client that presents it; must be the one that it was issued to
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    client: String,
    /// Narrows the audience of the new access token; may be repeated
    #[arg(long = "aud", visible_alias = "audience", value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// Narrows the scope of the new access token; may be repeated
    #[arg(long)]
    scope: Vec<String>,
    /// The device now, by a stable id
    #[arg(long, value_name = "ID")]
    device: Option<String>,
}

impl Refresh {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::RefreshTokenRequest {
            realm: flags.realm(),
            refresh_token: super::presented(self.token, streams.input)?,
            client_id: self.client,
            scope: self.scope,
            audience: self.audience,
            confirmation: None,
            device: self.device.map(|device_id| v1::Device { device_id, ..v1::Device::default() }),
            request_id: String::new(),
        };
        let mut client = TokenServiceClient::new(flags.connect().await?);
        let answer =
            client.refresh_token(request(message)).await.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "RefreshTokenResponse", &answer)?;
        } else {
            super::pair(&answer.tokens.unwrap_or_default()).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}
