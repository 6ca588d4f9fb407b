//! `store copy`: a store's records and revocations into an empty one, of whichever kind.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::app::store::OpenStore;
use crate::authority::ports::{Clock, Entropy};
use crate::cli::Streams;
use crate::cli::answer::Lines;
use crate::cli::client::ClientFlags;
use crate::cli::failure::{Exit, Failure};
use crate::config::{StoreSafety, StoreUrl};
use crate::store::copy::{Side, copy};
use crate::store::key_encryption_key::{Created, KeyEncryptionKey};

use super::{key_of, system, url_or_file};

/// Copy a store into an empty one: to move it, or as a backup
///
/// Copies realms with their keys, subjects with their sessions, and the revocations that still matter, each with its
/// expiry, between directories and Redis of any kind. A server on the copy serves the same sessions: access tokens
/// verify, refresh tokens work, what was revoked stays revoked. Revisions that callers hold are not known there.
///
/// Stop the servers on FROM first: what they change after the copy is not in it. A directory is locked while a server
/// uses it. A Redis is read until two passes find the same, so that the copy is what it held at one moment; if it keeps
/// changing, the exit code is 1 and no server starts on the copy. FROM is not changed.
///
/// A backup that is put back knows nothing of what was revoked since: run `store restored` before a server starts on it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Copy {
    /// What to copy: embedded:DIR, or a Redis (redis://HOST:PORT, …), or @FILE with that in it
    #[arg(value_name = "FROM", value_parser = url_or_file)]
    from: StoreUrl,
    /// Where to: the same; must be empty, a directory may be missing
    #[arg(value_name = "TO", value_parser = url_or_file)]
    to: StoreUrl,
    /// File with the key-encryption key of FROM [default: `kek` in its directory; Redis needs one]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with that of TO [default: `kek` in its directory, made if missing; in Redis the key of FROM]
    #[arg(long, value_name = "FILE")]
    to_key_file: Option<PathBuf>,
    /// Copy into a Redis that evicts, has no AOF, is too old or whose clock is wrong
    #[arg(long)]
    accept_unsafe_store: bool,
}

impl Copy {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let (clock, entropy) = system();
        // What makes a Redis unsafe to be given anything is no reason not to read it.
        let from = OpenStore::open_existing(&self.from, StoreSafety::Waived, clock.clone(), entropy.clone());
        let from = from.await.map_err(|error| Failure::refused(format_args!("source: {error}")))?;
        let ended = self.copy(&from, clock, entropy, flags, streams).await;
        from.close().await;
        ended
    }

    async fn copy(
        &self,
        from: &OpenStore,
        clock: std::sync::Arc<dyn Clock>,
        entropy: std::sync::Arc<dyn Entropy>,
        flags: &ClientFlags,
        streams: &mut Streams<'_>,
    ) -> Result<Exit, Failure> {
        let source = Side { store: from.scan(), key: key_of(from, self.key_file.as_deref(), "--key-file")? };
        let safety = if self.accept_unsafe_store { StoreSafety::Waived } else { StoreSafety::Required };
        let to = OpenStore::open(&self.to, safety, clock.clone(), entropy.clone());
        let to = to.await.map_err(|error| Failure::refused(format_args!("destination: {error}")))?;
        let copied = match self.destination_key(from, &to, &*entropy, streams) {
            Ok(key) => {
                let destination = Side { store: to.scan(), key };
                copy(&source, &destination, &*clock, &*entropy).await.map_err(Failure::refused)
            }
            Err(failure) => Err(failure),
        };
        to.close().await;
        let copied = copied?;
        if flags.json {
            let (realms, subjects, revocations) = (copied.realms, copied.subjects, copied.revocations);
            let told = serde_json::json!({ "realms": realms, "subjects": subjects, "revocations": revocations });
            writeln!(streams.out, "{told}")?;
        } else {
            let lines = Lines::default().text("realms", &copied.realms.to_string());
            let lines = lines.text("subjects", &copied.subjects.to_string());
            lines.text("revocations", &copied.revocations.to_string()).write(streams.out)?;
        }
        Ok(Exit::Done)
    }

    fn destination_key(
        &self,
        from: &OpenStore,
        to: &OpenStore,
        entropy: &dyn Entropy,
        streams: &mut Streams<'_>,
    ) -> Result<KeyEncryptionKey, Failure> {
        match (&self.to_key_file, to.own_key_file()) {
            (Some(file), _) => KeyEncryptionKey::load(file).map_err(Failure::refused),
            (None, None) => key_of(from, self.key_file.as_deref(), "--key-file"),
            (None, Some(own)) => {
                let (key, created) = KeyEncryptionKey::load_or_create(&own, entropy).map_err(Failure::refused)?;
                if created == Created::New {
                    said_new(&own, streams)?;
                }
                Ok(key)
            }
        }
    }
}

fn said_new(file: &Path, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let file = file.display();
    Ok(writeln!(streams.err, "made a new key-encryption key, {file}: keep it apart from the copy, which it opens")?)
}
