//! One follower of the revocation log: entries as they are published, for speed, and every head once a
//! second, for certainty. Whatever does not link up has its partition read anew; what that lacks of what
//! was there before is told as lost.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::interfaces::EventInterface as _;
use fred::types::Message;
use tokio::sync::{broadcast, mpsc};
use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::layout::{Linked, decode_message};
use super::log::{Log, bytes};
use super::recent::{Mark, Recent};
use crate::authority::ports::{Clock, LogUpdate, StoreError};
use crate::domain::revocation::Position;
use crate::domain::time::Timestamp;

/// How often the heads are read; a lost publication is noticed within that.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Updates that the one who follows may lag behind: two of each partition at least. It then holds this
/// follower up, which reads anew what it missed meanwhile.
const CAPACITY: usize = 1024;

pub(super) struct Follower {
    log: Log,
    published: broadcast::Receiver<Message>,
    channel: String,
    updates: mpsc::Sender<LogUpdate>,
    recent: Arc<Recent>,
    clock: Arc<dyn Clock>,
    /// How far each partition has been told.
    told: Vec<Position>,
    /// When the log was last seen whole: what was over by then can no longer get lost.
    confirmed: Timestamp,
}

/// The one who follows has gone.
struct Gone;

impl Follower {
    /// Reads every partition. Listens before it reads, so that nothing falls between.
    pub(super) async fn start(
        log: Log,
        subscriber: &SubscriberClient,
        channel: String,
        recent: Arc<Recent>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, mpsc::Receiver<LogUpdate>), StoreError> {
        let published = subscriber.message_rx();
        let (updates, receiver) = mpsc::channel(CAPACITY);
        let mark = recent.mark();
        let snapshots = log.snapshots().await?;
        let (told, confirmed) = (Vec::new(), clock.now());
        let mut follower = Self { log, published, channel, updates, recent, clock, told, confirmed };
        for (head, entries) in snapshots {
            follower.told.push(head);
            // There is room for all of them, and the receiver is here.
            let _ = follower.tell(mark, head, entries).await;
        }
        Ok((follower, receiver))
    }

    /// Follows until nobody wants it any more.
    pub(super) async fn run(mut self) {
        let mut poll = tokio::time::interval(POLL_EVERY);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            let step = tokio::select! {
                () = self.updates.closed() => return,
                message = self.published.recv() => self.take(message).await,
                _ = poll.tick() => self.compare().await,
            };
            match step {
                Ok(Ok(())) => failing = false,
                Ok(Err(Gone)) => return,
                Err(error) => {
                    // Nothing is lost: the next comparison finds what is missing.
                    if !failing {
                        warn!(%error, "the revocation log can't be read; trying again every second");
                    }
                    failing = true;
                }
            }
        }
    }

    async fn take(
        &mut self,
        message: Result<Message, broadcast::error::RecvError>,
    ) -> Result<Result<(), Gone>, StoreError> {
        match message {
            Ok(message) if *message.channel == *self.channel => match decode_message(&bytes(message.value)?) {
                Ok(linked) => self.append(linked).await,
                // Anybody may publish; the log itself is the proof.
                Err(_) => self.compare().await,
            },
            Ok(_) => Ok(Ok(())),
            Err(broadcast::error::RecvError::Lagged(_)) => self.compare().await,
            Err(broadcast::error::RecvError::Closed) => Ok(Err(Gone)),
        }
    }

    async fn append(&mut self, linked: Linked) -> Result<Result<(), Gone>, StoreError> {
        let answered = self.recent.answer(linked.position.partition);
        let Some(told) = self.told.get_mut(usize::from(linked.position.partition)) else { return Ok(Ok(())) };
        // Entries follow one another, so one that was answered is told before any later one.
        let skips = |answered: Position| {
            let after = linked.previous.number < answered.number;
            after && answered.number <= linked.position.number && answered != linked.position
        };
        if *told == linked.previous && !answered.is_some_and(skips) {
            *told = linked.position;
            self.recent.add(linked.position.partition, linked.owner, &linked.entry);
            let update = LogUpdate::Entry { position: linked.position, entry: linked.entry };
            return Ok(self.updates.send(update).await.map_err(|_| Gone));
        }
        if linked.position.number <= told.number {
            // Told already, by a snapshot; or the log went back, which the heads show.
            return Ok(Ok(()));
        }
        self.read_anew(linked.position.partition).await
    }

    /// Reads every head, and each partition anew that stands elsewhere than it was told. What was in the
    /// log when this began has then been told.
    async fn compare(&mut self) -> Result<Result<(), Gone>, StoreError> {
        let at = self.clock.now();
        let answers = self.recent.answers();
        let before = self.told.clone();
        let heads = self.log.heads().await?;
        // What was published meanwhile explains most differences, at no cost.
        while let Ok(message) = self.published.try_recv() {
            if *message.channel == *self.channel
                && let Ok(linked) = decode_message(&bytes(message.value)?)
                && let Err(gone) = self.append(linked).await?
            {
                return Ok(Err(gone));
            }
        }
        for ((head, before), answered) in heads.into_iter().zip(before).zip(answers) {
            let told = self.told[usize::from(head.partition)];
            let lacks =
                |known: Position| head.number < known.number || (head.number == known.number && head.tag != known.tag);
            // What was never told, but answered to a caller here, has to be there too.
            let went_back = lacks(before) || answered.is_some_and(lacks);
            if (went_back || told.number < head.number)
                && let Err(gone) = self.read_anew(head.partition).await?
            {
                return Ok(Err(gone));
            }
        }
        self.confirmed = at;
        Ok(self.updates.send(LogUpdate::Confirmed { at }).await.map_err(|_| Gone))
    }

    async fn read_anew(&mut self, partition: u16) -> Result<Result<(), Gone>, StoreError> {
        let mark = self.recent.mark();
        let (head, entries) = self.log.snapshot(partition).await?;
        self.told[usize::from(partition)] = head;
        Ok(self.tell(mark, head, entries).await)
    }

    async fn tell(&self, mark: Mark, head: Position, log: Vec<Linked>) -> Result<(), Gone> {
        let lost = self.recent.compare(mark, head.partition, &log, self.confirmed);
        let entries = log.into_iter().map(|linked| linked.entry).collect();
        self.updates.send(LogUpdate::Snapshot { head, entries }).await.map_err(|_| Gone)?;
        if lost.is_empty() {
            return Ok(());
        }
        self.updates.send(LogUpdate::Lost { entries: lost }).await.map_err(|_| Gone)
    }
}
