//! `keys rewrap`: works on the store itself, since a key-encryption key is never sent anywhere.

use clap::Args;

use crate::app;

use super::super::Streams;
use super::super::answer::Lines;
use super::super::client::ClientFlags;
use super::super::failure::{Exit, Failure};
use super::super::store_flags::StoreFlags;

/// Seal the store with --key-file instead of --previous-key-file; servers on a Redis go on meanwhile
#[derive(Debug, Args)]
pub(in crate::cli) struct Rewrap {
    #[command(flatten)]
    store: StoreFlags,
}

impl Rewrap {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let rewrapped = app::rewrap(&self.store.config()?).await.map_err(Failure::refused)?;
        if flags.json {
            writeln!(streams.out, "{{\"rewrapped\":{rewrapped}}}")?;
        } else {
            Lines::default().text("rewrapped", &rewrapped.to_string()).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}
