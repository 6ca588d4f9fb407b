//! A request that can be sent again: what was sent of its body is kept, up to a bound, and the rest
//! stays in reach. Knows not why.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use http::Request;
use http::request::Parts;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

/// The most that is kept.
const MOST_BYTES: usize = 64 * 1024;

struct Sending {
    /// What is still to be sent; `None` once it is sent again.
    rest: Option<Body>,
    sent: Vec<u8>,
    given_up: bool,
}

/// What it takes to send a request again.
pub(super) struct Replay {
    parts: Parts,
    sending: Arc<Mutex<Sending>>,
}

impl Replay {
    /// Keeps a request while it is sent.
    pub(super) fn keep(request: Request<Body>) -> (Request<Body>, Self) {
        let (parts, body) = request.into_parts();
        let sending = Sending { rest: Some(body), sent: Vec::new(), given_up: false };
        let sending = Arc::new(Mutex::new(sending));
        let body = Body::new(Keeping(sending.clone()));
        (Request::from_parts(parts.clone(), body), Self { parts, sending })
    }

    /// The request again: what was sent of it, then the rest. `None` if more was sent than is kept.
    pub(super) fn request(self) -> Option<Request<Body>> {
        let mut sending = lock(&self.sending);
        if sending.given_up {
            return None;
        }
        let body = Again { sent: mem::take(&mut sending.sent).into(), rest: sending.rest.take()? };
        drop(sending);
        Some(Request::from_parts(self.parts, Body::new(body)))
    }
}

/// The body the first time.
struct Keeping(Arc<Mutex<Sending>>);

impl http_body::Body for Keeping {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut sending = lock(&self.0);
        let Some(rest) = &mut sending.rest else {
            return Poll::Ready(Some(Err(Status::cancelled("the request is sent again"))));
        };
        let frame = ready!(Pin::new(rest).poll_frame(context));
        match &frame {
            // What has ended is not asked again.
            None => sending.rest = Some(Body::empty()),
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) if sending.sent.len() + data.len() <= MOST_BYTES => sending.sent.extend_from_slice(data),
                // Too much, or trailers.
                _ => sending.given_up = true,
            },
            Some(Err(_)) => sending.given_up = true,
        }
        if sending.given_up {
            sending.sent = Vec::new();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).rest.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).rest.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

/// The body the second time.
struct Again {
    sent: Bytes,
    rest: Body,
}

impl http_body::Body for Again {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.sent.is_empty() {
            return Pin::new(&mut self.rest).poll_frame(context);
        }
        Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.sent)))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent.is_empty() && self.rest.is_end_stream()
    }
}

fn lock(sending: &Mutex<Sending>) -> MutexGuard<'_, Sending> {
    sending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn request(body: &[u8]) -> (Request<Body>, Replay) {
        Replay::keep(Request::new(Body::new(Full::new(Bytes::copy_from_slice(body)))))
    }

    async fn read(request: Request<Body>) -> Vec<u8> {
        request.into_body().collect().await.expect("a body").to_bytes().to_vec()
    }

    #[tokio::test]
    async fn what_was_sent_is_sent_again_and_the_rest_after_it() {
        for body in [&b""[..], b"abc", &[0; MOST_BYTES]] {
            let (first, replay) = request(body);
            assert_eq!(read(first).await, body);
            assert_eq!(read(replay.request().expect("kept")).await, body, "sent whole");
            let (_unsent, replay) = request(body);
            assert_eq!(read(replay.request().expect("kept")).await, body, "not sent yet");
        }
        let half = Again { sent: Bytes::from_static(b"ab"), rest: Body::new(Full::new(Bytes::from_static(b"c"))) };
        let (mut first, replay) = Replay::keep(Request::new(Body::new(half)));
        let _ = first.body_mut().frame().await;
        assert_eq!(read(replay.request().expect("kept")).await, b"abc", "half of it sent");
        first.body_mut().frame().await.expect("a frame").expect_err("only one of the two goes on");
    }

    #[tokio::test]
    async fn too_much_is_not_kept() {
        let (first, replay) = request(&[0; MOST_BYTES + 1]);
        read(first).await;
        assert!(replay.request().is_none());
    }
}
