//! `keys`: a realm's signing keys, one command a call.

use clap::Subcommand;

use crate::proto::v1;

use super::Streams;
use super::answer::Lines;
use super::client::ClientFlags;
use super::failure::{Exit, Failure};

mod activate;
mod import;
mod list;
mod prepare;
mod retire;
mod revoke;
mod rewrap;

/// List, prepare, activate, retire, revoke and import signing keys; exchange the key-encryption key
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    List(list::List),
    Prepare(prepare::Prepare),
    Activate(activate::Activate),
    Retire(retire::Retire),
    Revoke(revoke::Revoke),
    Import(Box<import::Import>),
    Rewrap(Box<rewrap::Rewrap>),
}

impl Keys {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run(flags, streams).await,
            Self::Prepare(prepare) => prepare.run(flags, streams).await,
            Self::Activate(activate) => activate.run(flags, streams).await,
            Self::Retire(retire) => retire.run(flags, streams).await,
            Self::Revoke(revoke) => revoke.run(flags, streams).await,
            Self::Import(import) => import.run(flags, streams).await,
            Self::Rewrap(rewrap) => rewrap.run(flags, streams).await,
        }
    }
}

/// The words for a key's state, as `--state` takes them.
const STATES: [(&str, v1::KeyState); 4] = [
    ("prepared", v1::KeyState::Prepared),
    ("active", v1::KeyState::Active),
    ("retiring", v1::KeyState::Retiring),
    ("revoked", v1::KeyState::Revoked),
];

/// A key for people.
fn lines(key: &v1::Key) -> Lines {
    let state = STATES.iter().find(|(_, state)| *state == key.state()).map_or("", |(word, _)| word);
    Lines::default()
        .text("key_id", &key.key_id)
        .text("algorithm", &key.algorithm)
        .text("state", state)
        .time("create_time", key.create_time)
        .time("activate_time", key.activate_time)
        .time("retire_time", key.retire_time)
        .time("remove_time", key.remove_time)
}
