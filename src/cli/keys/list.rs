//! `keys list`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::proto::v1;
use crate::proto::v1::key_service_client::KeyServiceClient;

use super::super::Streams;
use super::super::answer;
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};
use super::{STATES, lines};

/// List the realm's keys, newest first
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only keys in this state
    #[arg(long, value_name = "STATE", value_parser = state())]
    state: Option<v1::KeyState>,
    /// Most keys to show, up to 1000 [default: the server's]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    page_size: i32,
    /// The nextPageToken of the page before
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    page_token: String,
}

impl List {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::ListKeysRequest {
            realm: flags.realm(),
            state: self.state.unwrap_or_default().into(),
            page_size: self.page_size,
            page_token: self.page_token,
        };
        let mut client = KeyServiceClient::new(flags.connect().await?);
        let answer = client.list_keys(request(message)).await.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "ListKeysResponse", &answer)?;
            return Ok(Exit::Done);
        }
        if answer.keys.is_empty() {
            writeln!(streams.out, "no such keys")?;
        }
        for (index, key) in answer.keys.iter().enumerate() {
            if index > 0 {
                writeln!(streams.out)?;
            }
            lines(key).write(streams.out)?;
        }
        if !answer.next_page_token.is_empty() {
            writeln!(streams.err, "more: --page-token {}", answer::printable(&answer.next_page_token))?;
        }
        Ok(Exit::Done)
    }
}

fn state() -> impl TypedValueParser<Value = v1::KeyState> {
    PossibleValuesParser::new(STATES.map(|(word, _)| word)).map(|word| {
        let state = STATES.iter().find(|(known, _)| *known == word);
        state.map_or(v1::KeyState::Unspecified, |(_, state)| *state)
    })
}
