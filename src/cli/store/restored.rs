//! `store restored`: ends everything that a backup brought back to life.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use futures::future::join;
use tokio::sync::mpsc;

use crate::app::store::OpenStore;
use crate::authority::end_realm_at_rest;
use crate::authority::ports::{Clock, Entropy, RecordKind, Store};
use crate::cli::Streams;
use crate::cli::answer::Lines;
use crate::cli::client::ClientFlags;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Environment, Flags, StoreSafety, StoreUrl};
use crate::domain::ids::RealmName;
use crate::store::scan::{Row, Scan};
use crate::store::sealing::SealedStore;

use super::{key_of, system, url_or_file};

/// End every session and token issued until now, after a backup was put back
///
/// A store from a backup knows nothing of what came after it: sessions that were revoked since live again, and refresh
/// tokens that were used up since are good again. So that neither is taken, everything issued until now ends, in each
/// realm; keys, peppers and settings stay, and whoever logs in again goes on. Run it before a server starts on the
/// store. A second run ends what was issued since the first.
///
/// Why all, and not only what was not refreshed since the backup: who comes with a newer token than the store knows
/// proves that the session was refreshed since, but neither that it was not revoked after that, nor that the token was
/// not used up. Nothing in the store tells these apart.
///
/// A signing key that was revoked since the backup is good again too: revoke it again.
#[derive(Debug, Args)]
pub(in crate::cli) struct Restored {
    /// Configuration file of the server whose store it is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the store is: embedded:DIR, or a Redis, or @FILE with that in it [default: embedded:./data]
    #[arg(long, value_name = "URL", value_parser = url_or_file)]
    store: Option<StoreUrl>,
    /// File with the key-encryption key [default: `kek` in the embedded store's directory; Redis needs one]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Go on with a Redis that evicts, has no AOF, is too old or whose clock is wrong
    #[arg(long)]
    accept_unsafe_store: bool,
}

impl Restored {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let told = Flags {
            config: self.config,
            store: self.store,
            store_safety: self.accept_unsafe_store.then_some(StoreSafety::Waived),
            encryption_key_file: self.key_file,
            ..Flags::default()
        };
        let config = Config::load(told, &Environment::of_process())?;
        let (clock, entropy) = system();
        let store = OpenStore::open_existing(&config.store, config.store_safety, clock.clone(), entropy.clone()).await;
        let store = store.map_err(Failure::refused)?;
        // By a clock that was behind, the latest tokens would stay.
        let ended = end_all(&store, &config, &*store.clock(clock), &*entropy).await;
        store.close().await;
        let realms: Vec<_> = ended?.iter().map(ToString::to_string).collect();
        if flags.json {
            writeln!(streams.out, "{}", serde_json::json!({ "realms": realms }))?;
        } else {
            Lines::default().list("realms ended", &realms).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}

async fn end_all(
    store: &OpenStore,
    config: &Config,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Vec<RealmName>, Failure> {
    let key = key_of(store, config.encryption_key_file.as_deref(), "--key-file")?;
    let realms = realms(store.scan()).await?;
    if realms.is_empty() {
        return Err(Failure::refused("the store has no realm"));
    }
    let sealed: Arc<dyn Store> =
        Arc::new(SealedStore::open(store.store(), &[key], entropy).await.map_err(Failure::refused)?);
    for realm in &realms {
        let ended = end_realm_at_rest(&*sealed, clock, entropy, realm).await;
        ended.map_err(|error| Failure::refused(format_args!("realm {realm}: {error}; run the command again")))?;
    }
    Ok(realms)
}

/// The realms that the store has a record of.
async fn realms(store: Arc<dyn Scan>) -> Result<Vec<RealmName>, Failure> {
    let (rows, mut received) = mpsc::channel::<Row>(256);
    let collected = async {
        let mut realms = Vec::new();
        while let Some(row) = received.recv().await {
            realms.extend(row.key.realm_name().filter(|_| row.key.kind() == RecordKind::Realm).cloned());
        }
        realms.sort();
        realms.dedup();
        realms
    };
    let (scanned, realms) = join(store.scan(rows), collected).await;
    scanned.map_err(Failure::refused)?;
    Ok(realms)
}
