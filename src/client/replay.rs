//! A request that can be sent again: its body is kept as it passes, up to a bound. Knows not why.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use http::Request;
use http::request::Parts;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

/// The longest body that is kept.
const MOST_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    whole: bool,
    given_up: bool,
}

/// What was sent so far.
#[derive(Debug)]
pub(super) struct Replay {
    parts: Parts,
    kept: Arc<Mutex<Kept>>,
}

impl Replay {
    /// Keeps a request while it is sent.
    pub(super) fn keep(request: Request<Body>) -> (Request<Body>, Self) {
        let (parts, body) = request.into_parts();
        let kept = Arc::new(Mutex::new(Kept { whole: body.is_end_stream(), ..Kept::default() }));
        let body = Body::new(Keeping { body, kept: kept.clone() });
        (Request::from_parts(parts.clone(), body), Self { parts, kept })
    }

    /// The request again, if all of it was sent and kept. A stream that still goes on is not.
    pub(super) fn request(self) -> Option<Request<Body>> {
        let mut kept = lock(&self.kept);
        let bytes = (kept.whole && !kept.given_up).then(|| mem::take(&mut kept.bytes))?;
        drop(kept);
        Some(Request::from_parts(self.parts, Body::new(Full::new(Bytes::from(bytes)))))
    }
}

struct Keeping {
    body: Body,
    kept: Arc<Mutex<Kept>>,
}

impl http_body::Body for Keeping {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let mut kept = lock(&self.kept);
        match &frame {
            None => kept.whole = true,
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) if kept.bytes.len() + data.len() <= MOST_BYTES => kept.bytes.extend_from_slice(data),
                // Too large, or trailers.
                _ => kept.given_up = true,
            },
            Some(Err(_)) => kept.given_up = true,
        }
        if kept.given_up {
            kept.bytes = Vec::new();
        }
        kept.whole |= self.body.is_end_stream();
        drop(kept);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn sent(body: Body) -> Option<Vec<u8>> {
        let (request, replay) = Replay::keep(Request::new(body));
        let _ = request.into_body().collect().await;
        let again = replay.request()?.into_body().collect().await.expect("a body");
        Some(again.to_bytes().to_vec())
    }

    #[tokio::test]
    async fn what_was_sent_whole_can_be_sent_again() {
        assert_eq!(sent(Body::empty()).await, Some(Vec::new()));
        assert_eq!(sent(Body::new(Full::new(Bytes::from_static(b"abc")))).await, Some(b"abc".to_vec()));
        assert_eq!(sent(Body::new(Full::new(Bytes::from(vec![0; MOST_BYTES])))).await, Some(vec![0; MOST_BYTES]));
        assert_eq!(sent(Body::new(Full::new(Bytes::from(vec![0; MOST_BYTES + 1])))).await, None);
        let (_unsent, replay) = Replay::keep(Request::new(Body::new(Full::new(Bytes::from_static(b"abc")))));
        assert!(replay.request().is_none(), "nothing of it was sent");
    }
}
