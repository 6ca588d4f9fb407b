//! An answer on its way to its peer: keeps what the call holds until it has been taken, and is handed
//! over in pieces, so that a peer which takes nothing makes nobody copy it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

/// As much as a frame of HTTP/2 holds by default.
const PIECE_BYTES: usize = 16 << 10;

/// The body of an answer.
pub(super) struct Answer<K> {
    body: Body,
    /// Of the last frame, what was not asked for yet.
    rest: Bytes,
    /// Dropped with it.
    _kept: K,
}

impl<K> Answer<K> {
    pub(super) fn new(body: Body, kept: K) -> Self {
        Self { body, rest: Bytes::new(), _kept: kept }
    }
}

impl<K: Unpin> http_body::Body for Answer<K> {
    type Data = Bytes;
    type Error = Status;

    /// Only asked where the peer's window is open.
    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)?) else { return Poll::Ready(None) };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}
