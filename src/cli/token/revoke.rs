//! `token revoke`.

use clap::Args;

use crate::proto::v1;
use crate::proto::v1::token_service_client::TokenServiceClient;

use super::super::Streams;
use super::super::answer::{self, Lines};
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};

/// Revoke a token and its session; what is no token of the realm is no error
#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// The token of either kind, or - for standard input, where no process list shows it
    token: String,
}

impl Revoke {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::RevokeTokenRequest {
            realm: flags.realm(),
            token: super::presented(self.token, streams.input)?,
            ..v1::RevokeTokenRequest::default()
        };
        let mut client = TokenServiceClient::new(flags.connect().await?);
        let answer = client.revoke_token(request(message)).await.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "RevokeTokenResponse", &answer)?;
        } else {
            Lines::default().text("revoked", "true").text("revision", &answer.revision).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}
