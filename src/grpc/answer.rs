//! An answer on its way to its peer: keeps the call's place until it has been taken, and is handed
//! over in pieces, so that a peer which takes nothing makes nobody copy it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

use crate::listener::Untaken;

/// As much as a frame of HTTP/2 holds by default.
const PIECE_BYTES: usize = 16 << 10;

/// The body of an answer to a unary call.
pub(super) struct Answer {
    body: Body,
    /// Of the last frame, what was not asked for yet.
    rest: Bytes,
    /// While the answer is in memory, the call counts as one under way.
    _place: OwnedSemaphorePermit,
    /// `None` where no peer is known.
    _untaken: Option<Untaken>,
}

impl Answer {
    pub(super) fn new(body: Body, place: OwnedSemaphorePermit, untaken: Option<Untaken>) -> Self {
        Self { body, rest: Bytes::new(), _place: place, _untaken: untaken }
    }
}

impl http_body::Body for Answer {
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
