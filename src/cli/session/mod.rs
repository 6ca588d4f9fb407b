//! `session`: what a subject has open, one command a call.

use clap::Subcommand;

use super::Streams;
use super::client::ClientFlags;
use super::failure::{Exit, Failure};

mod list;
mod revoke;
mod revoke_all;
mod watch;

/// List, watch and revoke sessions
#[derive(Debug, Subcommand)]
pub(super) enum Session {
    List(list::List),
    Revoke(revoke::Revoke),
    RevokeAll(revoke_all::RevokeAll),
    Watch(watch::Watch),
}

impl Session {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run(flags, streams).await,
            Self::Revoke(revoke) => revoke.run(flags, streams).await,
            Self::RevokeAll(revoke_all) => revoke_all.run(flags, streams).await,
            Self::Watch(watch) => watch.run(flags, streams).await,
        }
    }
}
