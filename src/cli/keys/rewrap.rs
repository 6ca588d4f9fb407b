//! `keys rewrap`: works on the store itself, since a key-encryption key is never sent anywhere.

use std::path::PathBuf;

use clap::Args;

use crate::app;
use crate::config::{Config, Environment, Flags, StoreSafety, StoreUrl};

use super::super::Streams;
use super::super::answer::Lines;
use super::super::client::ClientFlags;
use super::super::failure::{Exit, Failure};

/// Seal the store with another key-encryption key; servers on a Redis go on meanwhile
#[derive(Debug, Args)]
pub(in crate::cli) struct Rewrap {
    /// Configuration file of the server
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the store is [default: embedded:./data]
    #[arg(long, value_name = "URL")]
    store: Option<StoreUrl>,
    /// Work on a Redis that evicts, has no AOF, is too old or whose clock is wrong
    #[arg(long)]
    accept_unsafe_store: bool,
    /// File with the new key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with the key that the store is sealed with now
    #[arg(long, value_name = "FILE")]
    previous_key_file: Option<PathBuf>,
}

impl Rewrap {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let settings = Flags {
            config: self.config,
            store: self.store,
            store_safety: self.accept_unsafe_store.then_some(StoreSafety::Waived),
            encryption_key_file: self.key_file,
            previous_encryption_key_file: self.previous_key_file,
            ..Flags::default()
        };
        let config = Config::load(settings, &Environment::of_process())?;
        let rewrapped = app::rewrap(&config).await.map_err(Failure::refused)?;
        if flags.json {
            writeln!(streams.out, "{{\"rewrapped\":{rewrapped}}}")?;
        } else {
            Lines::default().text("rewrapped", &rewrapped.to_string()).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}
