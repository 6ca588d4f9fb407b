//! Follows the authority's revocations into the index, and knows up to when it has them all. Starts
//! over after a gap; what it does with a token is the verifier's to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tracing::warn;

use super::authority_channel::AuthorityChannel;
use super::backoff::Backoff;
use super::receipts::Receipts;
use super::revocation_entry::{read, time};
use crate::clock::Clock;
use crate::domain::ids::{RealmName, SubscriberName};
use crate::domain::time::Timestamp;
use crate::proto::v1;
use crate::proto::v1::token_service_client::TokenServiceClient;
use crate::proto::v1::watch_revocations_response::Event;
use crate::verify::revocations::RevocationIndex;

/// A stream without even a heartbeat for so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(30);
/// How often entries that no token can meet any more are dropped.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const NEVER: i64 = i64::MIN;

/// Why a stream was left.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// What was read so far holds: go on from there.
    #[error("the stream ended: {0}")]
    Ended(#[from] Status),
    /// Something is missing: start over, with a snapshot.
    #[error("{0}")]
    Gap(&'static str),
}

/// The realm's revocations, kept up to date.
#[derive(Debug)]
pub(super) struct Revocations {
    realm: RealmName,
    name: SubscriberName,
    authority: TokenServiceClient<AuthorityChannel>,
    index: Arc<RevocationIndex>,
    clock: Arc<dyn Clock>,
    /// Every revocation up to here is in the index: milliseconds, or `NEVER`.
    complete_to: AtomicI64,
    pruned: AtomicI64,
    progress: watch::Sender<()>,
}

impl Revocations {
    pub(super) fn new(
        realm: RealmName,
        name: SubscriberName,
        authority: TokenServiceClient<AuthorityChannel>,
        index: Arc<RevocationIndex>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (complete_to, pruned) = (AtomicI64::new(NEVER), AtomicI64::new(0));
        Self { realm, name, authority, index, clock, complete_to, pruned, progress: watch::Sender::new(()) }
    }

    /// How far back the last moment lies up to which every revocation is known.
    pub(super) fn staleness(&self, now: Timestamp) -> Duration {
        match self.complete_to.load(Ordering::Acquire) {
            NEVER => Duration::MAX,
            complete_to => now.since(Timestamp::from_millis(complete_to)),
        }
    }

    /// Waits until there was a whole snapshot.
    pub(super) async fn complete(&self) {
        let mut progress = self.progress.subscribe();
        while self.complete_to.load(Ordering::Acquire) == NEVER {
            // Can't fail while `self` holds the sender.
            let _ = progress.changed().await;
        }
    }

    /// Follows the authority for ever.
    pub(super) async fn follow(&self) {
        let (mut revision, mut failures) = (String::new(), 0);
        loop {
            let broken = self.follow_once(&mut revision, &mut failures).await;
            warn!(realm = %self.realm, error = %broken, "revocations are not followed for now");
            if let Broken::Gap(_) = broken {
                revision.clear();
            }
            sleep(Backoff::default().pause(failures)).await;
            failures += 1;
        }
    }

    async fn follow_once(&self, revision: &mut String, failures: &mut u32) -> Broken {
        match self.read_stream(revision, failures).await {
            Ok(never) => match never {},
            Err(broken) => broken,
        }
    }

    async fn read_stream(&self, revision: &mut String, failures: &mut u32) -> Result<std::convert::Infallible, Broken> {
        let (mut receipts, said) = Receipts::open(
            self.realm.to_string(),
            v1::RevocationSubscription { after_revision: revision.clone(), client_name: self.name.to_string() },
        );
        let mut messages = self.authority.clone().follow_revocations(said).await?.into_inner();
        let mut stream = Stream { complete: !revision.is_empty(), next: 1 };
        loop {
            let message = tokio::select! {
                message = timeout(SILENCE, messages.message()) => message,
                () = receipts.send_due() => continue,
            };
            let message = message.map_err(|_| Status::deadline_exceeded("no heartbeat"))??;
            let message = message.ok_or_else(|| Status::unavailable("closed"))?;
            let news = stream.read(message.revocations.and_then(|revocations| revocations.event))?;
            // Entries hold even if what follows fails: the set only grows.
            for entry in news.entries {
                let entry = read(&self.realm, entry).ok_or(Broken::Gap("an entry can't be understood"))?;
                self.index.insert(&entry);
            }
            receipts.applied(message.receipt);
            if !news.revision.is_empty() {
                *revision = news.revision;
            }
            if let Some(as_of) = news.as_of {
                *failures = 0;
                self.complete_up_to(as_of);
            }
        }
    }

    /// Never back, and never later than now: a clock of the authority that is ahead of this one must
    /// not make old knowledge look new.
    fn complete_up_to(&self, as_of: Timestamp) {
        let now = self.clock.now();
        self.complete_to.fetch_max(as_of.min(now).millis(), Ordering::AcqRel);
        if now.since(Timestamp::from_millis(self.pruned.load(Ordering::Relaxed))) >= PRUNE_EVERY {
            self.pruned.store(now.millis(), Ordering::Relaxed);
            self.index.prune(now);
        }
        self.progress.send_replace(());
    }
}

/// What one message brings.
struct News {
    entries: Vec<v1::RevocationEntry>,
    /// From which to go on; empty for the one before.
    revision: String,
    /// Up to when nothing is missing, if this message says so.
    as_of: Option<Timestamp>,
}

/// Where a stream stands.
struct Stream {
    /// Whether all that came before this stream is held.
    complete: bool,
    /// The number of the next delta.
    next: i64,
}

impl Stream {
    fn read(&mut self, event: Option<Event>) -> Result<News, Broken> {
        let incomplete = Broken::Gap("a change before the whole snapshot");
        let (entries, revision, as_of) = match event.ok_or(Broken::Gap("an unknown kind of message"))? {
            Event::Snapshot(chunk) => {
                self.complete = chunk.complete;
                if !chunk.complete {
                    return Ok(News { entries: chunk.entries, revision: String::new(), as_of: None });
                }
                (chunk.entries, chunk.revision, Some(known(chunk.as_of_time)?))
            }
            Event::Delta(_) if !self.complete => return Err(incomplete),
            Event::Delta(delta) if delta.sequence_number != self.next => return Err(Broken::Gap("a delta is missing")),
            Event::Delta(delta) => {
                self.next += 1;
                (delta.entries, delta.revision, delta.as_of_time.map(time))
            }
            Event::Heartbeat(_) if !self.complete => return Err(incomplete),
            Event::Heartbeat(beat) => (Vec::new(), beat.revision, Some(known(beat.as_of_time)?)),
        };
        Ok(News { entries, revision, as_of })
    }
}

fn known(as_of: Option<prost_types::Timestamp>) -> Result<Timestamp, Broken> {
    as_of.map(time).ok_or(Broken::Gap("no as_of_time"))
}
