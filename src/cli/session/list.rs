//! `session list`.

use clap::Args;

use crate::proto::v1;
use crate::proto::v1::session_service_client::SessionServiceClient;

use super::super::Streams;
use super::super::answer::{self, Lines};
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};

/// List a subject's live sessions, newest first
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Whose sessions
    #[arg(long)]
    subject: String,
    /// Most sessions to show, up to 1000 [default: the server's]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    page_size: i32,
    /// The nextPageToken of the page before
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    page_token: String,
}

impl List {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::ListSessionsRequest {
            realm: flags.realm(),
            subject: self.subject,
            page_size: self.page_size,
            page_token: self.page_token,
        };
        let mut client = SessionServiceClient::new(flags.connect().await?);
        let answer =
            client.list_sessions(request(message)).await.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "ListSessionsResponse", &answer)?;
            return Ok(Exit::Done);
        }
        if answer.sessions.is_empty() {
            writeln!(streams.out, "no live sessions")?;
        }
        for (index, session) in answer.sessions.iter().enumerate() {
            if index > 0 {
                writeln!(streams.out)?;
            }
            lines("", session).write(streams.out)?;
        }
        if !answer.next_page_token.is_empty() {
            writeln!(streams.err, "more: --page-token {}", answer::printable(&answer.next_page_token))?;
        }
        Ok(Exit::Done)
    }
}

/// What happened, if anything did, and the session.
pub(super) fn lines(happened: &str, session: &v1::Session) -> Lines {
    let device = session.device.clone().unwrap_or_default();
    Lines::default()
        .text("happened", happened)
        .text("session_id", &session.session_id)
        .text("client_id", &session.client_id)
        .text("device", &device.device_id)
        .text("name", &device.name)
        .text("platform", &device.platform)
        .text("user_agent", &device.user_agent)
        .text("ip_address", &device.ip_address)
        .time("create_time", session.create_time)
        .time("last_refresh_time", session.last_refresh_time)
        .time("idle_expire_time", session.idle_expire_time)
        .time("expire_time", session.expire_time)
        .text("trusted", if session.trusted { "true" } else { "" })
        .text("generation", &session.generation.to_string())
}
