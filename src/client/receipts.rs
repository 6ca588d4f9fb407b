//! What a follower of revocations says on its stream: who it is, then what it has applied. Knows no entry.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use crate::proto::v1;
use crate::proto::v1::follow_revocations_request::Step;

/// The first receipt goes out at once; those of what comes close behind it go together.
const TOGETHER: Duration = Duration::from_millis(20);

/// The receipts of one stream.
#[derive(Debug)]
pub(super) struct Receipts {
    said: mpsc::Sender<v1::FollowRevocationsRequest>,
    /// The latest one that was sent.
    sent: i64,
    /// To be sent, if it is another.
    latest: i64,
    /// Not before.
    next: Instant,
}

impl Receipts {
    /// Subscribes first.
    pub(super) fn open(
        realm: String,
        subscription: v1::RevocationSubscription,
    ) -> (Self, ReceiverStream<v1::FollowRevocationsRequest>) {
        let (said, stream) = mpsc::channel(1);
        // There is room for one, and the stream is here.
        let _ = said.try_send(v1::FollowRevocationsRequest { realm, step: Some(Step::Subscribe(subscription)) });
        (Self { said, sent: 0, latest: 0, next: Instant::now() }, ReceiverStream::new(stream))
    }

    /// Notes what a message asks for; 0 is nothing.
    pub(super) fn applied(&mut self, receipt: i64) {
        if receipt != 0 {
            self.latest = receipt;
        }
    }

    /// Sends what is due; never ends while nothing is. May be dropped at any point.
    pub(super) async fn send_due(&mut self) {
        if self.latest == self.sent {
            return std::future::pending().await;
        }
        sleep_until(self.next).await;
        let Ok(place) = self.said.reserve().await else {
            // The stream has ended, which its other half tells.
            return std::future::pending().await;
        };
        let receipt = v1::RevocationReceipt { receipt: self.latest };
        let (realm, step) = (String::new(), Some(Step::Applied(receipt)));
        place.send(v1::FollowRevocationsRequest { realm, step });
        self.sent = self.latest;
        self.next = Instant::now() + TOGETHER;
    }
}

#[cfg(test)]
mod tests {
    use tonic::codegen::tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn receipts_under_load_are_few_and_the_last_is_never_left_out() {
        let (mut receipts, mut said) = Receipts::open(String::new(), v1::RevocationSubscription::default());
        assert!(matches!(said.next().await.expect("said").step, Some(Step::Subscribe(_))));
        let start = Instant::now();
        let mut sent = Vec::new();
        for receipt in 1..=1_000 {
            receipts.applied(receipt);
            receipts.applied(0);
            // A message a millisecond.
            let _ = tokio::time::timeout(Duration::from_millis(1), receipts.send_due()).await;
            while let Ok(Some(one)) = tokio::time::timeout(Duration::ZERO, said.next()).await {
                sent.push((one.step, start.elapsed()));
            }
        }
        receipts.send_due().await;
        let last = said.next().await.expect("said").step;
        assert_eq!(last, Some(Step::Applied(v1::RevocationReceipt { receipt: 1_000 })));
        let first = Step::Applied(v1::RevocationReceipt { receipt: 1 });
        assert_eq!(sent.first().map(|(step, _)| step.clone()), Some(Some(first)));
        assert_eq!(sent.first().map(|(_, at)| *at), Some(Duration::ZERO), "at once");
        assert!((20..=60).contains(&sent.len()), "{} receipts", sent.len());
        assert!(tokio::time::timeout(Duration::from_secs(9), receipts.send_due()).await.is_err(), "nothing is due");
    }
}
