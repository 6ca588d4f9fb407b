//! Follows the versions of the records that are watched: commits publish a hint where a record's watch is
//! announced, and whatever gets lost is found by reading the versions. Knows no record's content.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::interfaces::{EventInterface as _, KeysInterface as _};
use fred::types::{Expiration, Message, Value};
use futures::StreamExt as _;
use futures::stream;
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::connect::following_slots;
use super::fault;
use super::layout::{Keys, decode_hint};
use super::log::bytes;
use crate::authority::ports::{Clock, RecordKey, StoreError, Version};
use crate::store::watched::Watched;

/// How often the versions are read: a lost hint is noticed within that.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long a watch stays announced; renewed in a third of that.
const ANNOUNCED: Duration = Duration::from_secs(30);
const POLLS_AN_ANNOUNCEMENT: u32 = 10;
/// Versions that are read at the same time.
const AT_A_TIME: usize = 64;

/// Asks Redis about the watched records.
#[derive(Debug, Clone)]
pub(super) struct Versions {
    pub(super) client: Client,
    pub(super) keys: Keys,
}

impl Versions {
    /// Has commits to the record publish hints.
    pub(super) async fn announce(&self, key: &RecordKey) -> Result<(), StoreError> {
        let (name, channel) = (self.keys.watch(key), self.keys.hints());
        let expires = Some(Expiration::PX(i64::try_from(ANNOUNCED.as_millis()).unwrap_or(i64::MAX)));
        let set = || self.client.set::<Value, _, _>(&name, channel.as_str(), expires.clone(), None, false);
        following_slots(set).await.map(|_| ()).map_err(|error| fault::of_read(&error))
    }

    async fn read(&self, key: &RecordKey) -> Result<Option<Version>, StoreError> {
        let name = self.keys.record(key);
        let read = following_slots(|| self.client.getrange::<Value, _>(&name, 0, 15)).await;
        let version = bytes(read.map_err(|error| fault::of_read(&error))?)?;
        Ok(version[..].try_into().ok().map(Version))
    }
}

pub(super) struct Watcher {
    versions: Versions,
    published: broadcast::Receiver<Message>,
    channel: String,
    watched: Arc<Watched>,
    clock: Arc<dyn Clock>,
    /// The version of each that watchers were told of.
    told: HashMap<RecordKey, Option<Version>>,
}

impl Watcher {
    pub(super) fn new(
        versions: Versions,
        subscriber: &SubscriberClient,
        watched: Arc<Watched>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let channel = versions.keys.hints();
        Self { versions, published: subscriber.message_rx(), channel, watched, clock, told: HashMap::new() }
    }

    /// Follows until the connection is closed for good.
    pub(super) async fn run(mut self) {
        let mut poll = tokio::time::interval(POLL_EVERY);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut polls = 0;
        loop {
            tokio::select! {
                message = self.published.recv() => match message {
                    Ok(message) if *message.channel == *self.channel => self.take(message),
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => self.compare().await,
                    Err(broadcast::error::RecvError::Closed) => return self.watched.close(),
                },
                _ = poll.tick() => {
                    self.compare().await;
                    polls = (polls + 1) % POLLS_AN_ANNOUNCEMENT;
                    if polls == 0 {
                        self.announce_again().await;
                    }
                }
            }
        }
    }

    /// Anybody may publish: what is said is only that there is something to read.
    fn take(&mut self, message: Message) {
        let hint = bytes(message.value).ok().and_then(|bytes| decode_hint(&self.versions.keys, &bytes));
        if let Some((key, version)) = hint {
            self.note(key, Some(version));
        }
    }

    fn note(&mut self, key: RecordKey, version: Option<Version>) {
        if self.told.get(&key) != Some(&version) && self.watched.changed(&key) {
            self.told.insert(key, version);
        }
    }

    async fn compare(&mut self) {
        let keys = self.watched.keys();
        let watched: HashSet<_> = keys.iter().collect();
        self.told.retain(|key, _| watched.contains(key));
        let at = self.clock.now();
        let versions = &self.versions;
        let read = stream::iter(keys).map(async |key| (versions.read(&key).await, key));
        let read: Vec<_> = read.buffer_unordered(AT_A_TIME).collect().await;
        for (version, key) in read {
            // What can't be read is not confirmed either.
            let Ok(version) = version else { continue };
            self.note(key.clone(), version);
            self.watched.confirm(&key, at);
        }
    }

    async fn announce_again(&self) {
        let versions = &self.versions;
        let announced = stream::iter(self.watched.keys()).map(async |key| versions.announce(&key).await);
        let announced: Vec<_> = announced.buffer_unordered(AT_A_TIME).collect().await;
        if let Some(error) = announced.into_iter().find_map(Result::err) {
            warn!(%error, "watches can't be announced: their watchers hear of changes a second later");
        }
    }
}
