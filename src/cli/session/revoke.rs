//! `session revoke`.

use clap::Args;

use crate::proto::v1;
use crate::proto::v1::session_service_client::SessionServiceClient;

use super::super::Streams;
use super::super::answer::{self, Lines};
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};

/// End one session with all of its tokens; one that is over is no error
#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// Which session: the session_id of a token or a list
    session_id: String,
    /// Why, for the audit trail; no personal data
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl Revoke {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::RevokeSessionRequest {
            realm: flags.realm(),
            session_id: self.session_id,
            reason: self.reason,
            ..v1::RevokeSessionRequest::default()
        };
        let mut client = SessionServiceClient::new(flags.connect().await?);
        let answer = client.revoke_session(request(message)).await;
        let answer = answer.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "RevokeSessionResponse", &answer)?;
        } else {
            Lines::default().text("revoked", "true").text("revision", &answer.revision).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}
