//! `session watch`.

use clap::Args;

use crate::proto::v1;
use crate::proto::v1::session_service_client::SessionServiceClient;
use crate::proto::v1::watch_sessions_response::Event;

use super::super::Streams;
use super::super::answer;
use super::super::client::ClientFlags;
use super::super::failure::{Exit, Failure};
use super::list::lines;

/// Show a subject's live sessions, then what happens to them, until the server or the reader ends it
#[derive(Debug, Args)]
pub(in crate::cli) struct Watch {
    /// Whose sessions
    #[arg(long)]
    subject: String,
}

impl Watch {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::WatchSessionsRequest { realm: flags.realm(), subject: self.subject };
        let mut client = SessionServiceClient::new(flags.connect().await?);
        // Waited for without end, other than for an answer.
        let answer = client.watch_sessions(message).await.map_err(|status| flags.failure(&status))?;
        let mut messages = answer.into_inner();
        while let Some(message) = messages.message().await.map_err(|status| flags.failure(&status))? {
            if flags.json {
                answer::json(streams.out, "WatchSessionsResponse", &message)?;
            } else {
                show(&message, streams)?;
            }
            streams.out.flush()?;
        }
        Ok(Exit::Done)
    }
}

fn show(message: &v1::WatchSessionsResponse, streams: &mut Streams<'_>) -> std::io::Result<()> {
    match &message.event {
        Some(Event::Snapshot(snapshot)) => {
            for session in &snapshot.sessions {
                lines("live", session).write(streams.out)?;
                writeln!(streams.out)?;
            }
            Ok(())
        }
        Some(Event::Change(change)) => {
            let what = match change.kind() {
                v1::SessionChangeKind::Opened => "opened",
                v1::SessionChangeKind::Refreshed => "refreshed",
                v1::SessionChangeKind::Ended => "ended",
                v1::SessionChangeKind::Updated | v1::SessionChangeKind::Unspecified => "updated",
            };
            lines(what, &change.session.clone().unwrap_or_default()).write(streams.out)?;
            writeln!(streams.out)
        }
        Some(Event::Heartbeat(_)) | None => Ok(()),
    }
}
