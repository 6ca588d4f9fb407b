//! The flags of commands that work on a store themselves, without a server.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, Environment, Flags, StoreSafety, StoreUrl};

use super::failure::Failure;

#[derive(Debug, Args)]
#[command(next_help_heading = "Store options")]
pub(super) struct StoreFlags {
    /// Configuration file of the server
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of realm files
    #[arg(long, value_name = "DIR")]
    realms: Option<PathBuf>,
    /// Where the store is; an embedded one is in use while its server runs [default: embedded:./data]
    #[arg(long, value_name = "URL")]
    store: Option<StoreUrl>,
    /// Work on a Redis that evicts, has no AOF, is too old or whose clock is wrong
    #[arg(long)]
    accept_unsafe_store: bool,
    /// File with the key-encryption key [default: `kek` in the embedded store's directory]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with the key before it, while it is exchanged
    #[arg(long, value_name = "FILE")]
    previous_key_file: Option<PathBuf>,
}

impl StoreFlags {
    /// What a server with these would be told.
    pub(super) fn config(self) -> Result<Config, Failure> {
        let flags = Flags {
            config: self.config,
            realms: self.realms,
            store: self.store,
            store_safety: self.accept_unsafe_store.then_some(StoreSafety::Waived),
            encryption_key_file: self.key_file,
            previous_encryption_key_file: self.previous_key_file,
            ..Flags::default()
        };
        Ok(Config::load(flags, &Environment::of_process())?)
    }
}
