//! The messages of `WatchRevocations` and `FollowRevocations`. Knows the feed's words and the proto's, and
//! decides nothing.

use futures::StreamExt as _;
use futures::future::ready;
use futures::stream::select;
use tokio_stream::Stream;
use tonic::Streaming;

use crate::authority::revocation_feed::{FeedMessage, Receipt, Subscription};
use crate::domain::revocation::{RevocationEntry, RevocationScope};
use crate::proto::v1;
use crate::proto::v1::follow_revocations_request::Step;
use crate::proto::v1::revocation_entry::Target;
use crate::proto::v1::watch_revocations_response::Event;

use super::wire::{time, timestamp};

/// Numbers the deltas of one stream.
pub(super) fn messages(feed: impl Stream<Item = FeedMessage>) -> impl Stream<Item = v1::WatchRevocationsResponse> {
    let mut deltas = 0;
    feed.map(move |message| {
        deltas += i64::from(matches!(message, FeedMessage::Delta(..)));
        v1::WatchRevocationsResponse { event: Some(event(message, deltas)) }
    })
}

/// The same with receipts, while those that come back are taken in. What else the subscriber says after
/// its first message is passed over; so is that it says no more.
pub(super) fn followed(
    subscription: Subscription,
    feed: impl Stream<Item = (FeedMessage, Option<Receipt>)>,
    said: Streaming<v1::FollowRevocationsRequest>,
) -> impl Stream<Item = v1::FollowRevocationsResponse> {
    let mut deltas = 0;
    let messages = feed.map(move |(message, receipt)| {
        deltas += i64::from(matches!(message, FeedMessage::Delta(..)));
        let revocations = Some(v1::WatchRevocationsResponse { event: Some(event(message, deltas)) });
        let receipt = receipt.map_or(0, |receipt| i64::try_from(receipt.to_number()).unwrap_or(i64::MAX));
        Some(v1::FollowRevocationsResponse { revocations, receipt })
    });
    let receipts = said.map(move |said| {
        if let Some(receipt) = said.ok().and_then(receipt) {
            subscription.applied(receipt);
        }
        None
    });
    select(messages, receipts).filter_map(ready)
}

fn receipt(said: v1::FollowRevocationsRequest) -> Option<Receipt> {
    match said.step? {
        Step::Applied(receipt) => Receipt::from_number(u64::try_from(receipt.receipt).ok()?),
        Step::Subscribe(_) => None,
    }
}

fn event(message: FeedMessage, sequence_number: i64) -> Event {
    match message {
        FeedMessage::Snapshot(new, None) => {
            Event::Snapshot(v1::RevocationSnapshot { entries: entries(new), ..v1::RevocationSnapshot::default() })
        }
        FeedMessage::Snapshot(new, Some(known)) => Event::Snapshot(v1::RevocationSnapshot {
            entries: entries(new),
            complete: true,
            revision: known.revision.to_string(),
            as_of_time: time(known.as_of),
        }),
        FeedMessage::Delta(new, as_of) => Event::Delta(v1::RevocationDelta {
            sequence_number,
            entries: entries(new),
            revision: String::new(),
            as_of_time: as_of.and_then(time),
        }),
        FeedMessage::Heartbeat(known) => Event::Heartbeat(v1::RevocationHeartbeat {
            revision: known.revision.to_string(),
            as_of_time: time(known.as_of),
        }),
    }
}

fn entries(entries: Vec<RevocationEntry>) -> Vec<v1::RevocationEntry> {
    entries.into_iter().map(entry).collect()
}

fn entry(entry: RevocationEntry) -> v1::RevocationEntry {
    let target = match entry.scope {
        RevocationScope::Session(session) => Target::Session(session.0.to_vec()),
        RevocationScope::Token(random) => Target::Token(random.to_vec()),
        RevocationScope::SessionEpoch(session, below) => {
            Target::SessionEpoch(v1::SessionEpoch { session: session.0.to_vec(), epoch: below.into() })
        }
        RevocationScope::SubjectEpoch(subject, below) => {
            Target::SubjectEpoch(v1::SubjectEpoch { subject_key: subject.0.to_vec(), epoch: below.into() })
        }
        RevocationScope::Client(_, client, at) => {
            Target::ClientCutoff(v1::ClientCutoff { client_id: client.to_string(), cutoff_time: time(at) })
        }
        RevocationScope::Key(kid) => Target::KeyId(kid.to_string()),
        RevocationScope::Realm(_, at) => Target::RealmCutoffTime(timestamp(at)),
    };
    v1::RevocationEntry { target: Some(target), expire_time: time(entry.until) }
}
