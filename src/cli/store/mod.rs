//! `store`: looking after a store without a server, one command a file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::Subcommand;

use crate::app::store::OpenStore;
use crate::authority::ports::{Clock, Entropy};
use crate::config::StoreUrl;
use crate::store::key_encryption_key::KeyEncryptionKey;
use crate::system::{SystemClock, SystemEntropy};

use super::Streams;
use super::client::ClientFlags;
use super::failure::{Exit, Failure};

mod copy;
mod restored;
mod status;

/// Copy a store, look into it, and end what a backup brought back
#[derive(Debug, Subcommand)]
pub(super) enum Store {
    Copy(copy::Copy),
    Restored(restored::Restored),
    Status(status::Status),
}

impl Store {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Copy(copy) => copy.run(flags, streams).await,
            Self::Restored(restored) => restored.run(flags, streams).await,
            Self::Status(status) => status.run(flags, streams).await,
        }
    }
}

/// The machine's clock and randomness, as a server has them.
fn system() -> (Arc<dyn Clock>, Arc<dyn Entropy>) {
    (Arc::new(SystemClock::default()), Arc::new(SystemEntropy))
}

/// A store's URL, or `@FILE` with the URL in it: that keeps a password out of the list of processes.
fn url_or_file(text: &str) -> Result<StoreUrl, String> {
    let url = match text.strip_prefix('@') {
        Some(file) => fs::read_to_string(file).map_err(|error| format!("{file}: can't be read: {error}"))?,
        None => text.to_owned(),
    };
    StoreUrl::parse(url.trim()).map_err(|error| error.to_string())
}

/// The key of a store that is there: from the file named, or from its own directory.
fn key_of(store: &OpenStore, file: Option<&Path>, flag: &str) -> Result<KeyEncryptionKey, Failure> {
    let file = file.map(Path::to_owned).or_else(|| store.own_key_file());
    let file =
        file.ok_or_else(|| Failure::refused(format_args!("a store in Redis needs {flag}: no key is kept there")))?;
    KeyEncryptionKey::load(&file).map_err(Failure::refused)
}
