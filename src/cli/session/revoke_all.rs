//! `session revoke-all`.

use clap::Args;

use crate::proto::v1;
use crate::proto::v1::session_service_client::SessionServiceClient;

use super::super::Streams;
use super::super::answer::{self, Lines};
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};

/// End every session of a subject, and its tokens without one
#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeAll {
    /// Whose sessions
    #[arg(long)]
    subject: String,
    /// The one session that lives on
    #[arg(long = "except", value_name = "SESSION_ID", default_value = "", hide_default_value = true)]
    except_session_id: String,
    /// Why, for the audit trail; no personal data
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl RevokeAll {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::RevokeAllSessionsRequest {
            realm: flags.realm(),
            subject: self.subject,
            except_session_id: self.except_session_id,
            reason: self.reason,
            ..v1::RevokeAllSessionsRequest::default()
        };
        let mut client = SessionServiceClient::new(flags.connect().await?);
        let answer = client.revoke_all_sessions(request(message)).await;
        let answer = answer.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "RevokeAllSessionsResponse", &answer)?;
        } else {
            let count = answer.revoked_count.to_string();
            Lines::default().text("revoked_count", &count).text("revision", &answer.revision).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}
