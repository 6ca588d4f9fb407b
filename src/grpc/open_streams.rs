//! Calls that stay open: bounded in number, and ended when their caller may go on no longer or the server stops.
//! Knows no message.

use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{StreamExt as _, unfold};
use tokio::sync::{Semaphore, watch};
use tokio_stream::Stream;
use tonic::Status;

use crate::authority::Error;

use super::status::{overloaded, status, stopping};

/// Streams that are open at a time, of all callers.
const MOST: usize = 1_024;

/// A stream of answers as a service gives it.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Gives out the places.
#[derive(Debug, Clone)]
pub struct OpenStreams {
    places: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl OpenStreams {
    /// Until `stopped` turns true.
    pub fn new(stopped: watch::Receiver<bool>) -> Self {
        Self { places: Arc::new(Semaphore::new(MOST)), stopped }
    }

    /// Sends what comes until the permit lapses, and then why; or until the server stops or the answers end, and
    /// then that the caller should come back.
    pub(super) fn open<T: Send + 'static>(
        &self,
        lapse: impl Future<Output = Error> + Send + 'static,
        answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Result<Answers<T>, Status> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| overloaded())?;
        let mut stopped = self.stopped.clone();
        let end = async move {
            let _place = place;
            tokio::select! {
                // An error means that the server was dropped.
                _ = stopped.wait_for(|stopped| *stopped) => stopping(),
                error = lapse => status(error),
            }
        };
        let open = (Box::pin(answers), Box::pin(end));
        Ok(Box::pin(unfold(Some(open), |open| async {
            let (mut answers, mut end) = open?;
            tokio::select! {
                // Not by chance: who reads late must not be told what he may not know by now.
                biased;
                last = &mut end => Some((Err(last), None)),
                answer = answers.next() => match answer {
                    Some(answer) => Some((answer, Some((answers, end)))),
                    None => Some((Err(stopping()), None)),
                },
            }
        })))
    }
}

#[cfg(test)]
mod tests {
    use futures::future::pending;
    use futures::stream;
    use tokio::sync::oneshot;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    #[tokio::test]
    async fn streams_are_bounded_and_end_with_the_server() {
        let (stop, stopped) = watch::channel(false);
        let streams = OpenStreams { places: Arc::new(Semaphore::new(1)), stopped };
        let endless = || stream::iter([Ok(1)]).chain(stream::pending());
        let mut first = streams.open(pending(), endless()).expect("a place");
        assert_eq!(first.next().await.expect("goes on").expect("an answer"), 1);
        assert_eq!(streams.open(pending(), endless()).err().map(|status| status.code()), Some(Code::ResourceExhausted));
        drop(first);
        let mut second = streams.open(pending(), endless()).expect("the place is free again");
        assert!(second.next().await.expect("goes on").is_ok());
        stop.send_replace(true);
        let last = second.next().await.expect("a last word").expect_err("ended");
        assert_eq!(last.code(), Code::Unavailable);
        let details = last.get_error_details();
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("STOPPING"));
        assert!(details.retry_info().is_some());
        assert!(second.next().await.is_none());
    }

    #[tokio::test]
    async fn a_lapse_ends_a_stream_before_what_waits_to_be_sent() {
        let (_stop, stopped) = watch::channel(false);
        let (lapse, lapsed) = oneshot::channel();
        let lapsed = async { lapsed.await.expect("lapses") };
        let mut stream = OpenStreams::new(stopped).open(lapsed, stream::repeat_with(|| Ok(1))).expect("a place");
        assert!(stream.next().await.expect("goes on").is_ok());
        lapse.send(Error::ClientNotAuthenticated).expect("is waited for");
        let last = stream.next().await.expect("a last word").expect_err("ended");
        assert_eq!(last.code(), Code::Unauthenticated);
        assert!(stream.next().await.is_none());
    }
}
