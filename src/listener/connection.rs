//! One open connection: holds its place until it ends, and ends when its peer keeps the server
//! waiting. Knows no protocol above TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use super::identity::Identity;

/// How long a peer has for taking an answer; up to twice that, since it is looked at in turns. A call
/// has a deadline of 5 s, so nobody waits for an answer that comes later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Plaintext, or TLS after its handshake.
pub(super) type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// What an open connection takes up.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _lane: Option<Arc<()>>,
}

impl From<OwnedSemaphorePermit> for Place {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit, _lane: None }
    }
}

impl Place {
    /// The same, in a lane too.
    pub(super) fn in_lane(self, lane: Arc<()>) -> Self {
        Self { _lane: Some(lane), ..self }
    }
}

/// A connection over `T`. It fails with `TimedOut` if no byte has moved either way for `peer_timeout`,
/// or if its peer does not take an answer.
#[derive(Debug)]
pub struct Connection<T = Transport> {
    transport: T,
    peer: Peer,
    peer_timeout: Duration,
    turns: Interval,
    /// Whether a byte has moved in this turn.
    moved: bool,
    /// The end of the last turn in which one did.
    last_moved: Instant,
    _place: Place,
}

impl<T> Connection<T> {
    pub(super) fn new(transport: T, identity: Option<Identity>, peer_timeout: Duration, place: Place) -> Self {
        let (now, turn) = (Instant::now(), peer_timeout.min(ANSWER_TIMEOUT));
        let mut turns = tokio::time::interval_at(now + turn, turn);
        // Missed turns are not made up for: in two at once no answer would have had its time.
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let peer = Peer(Arc::new(Known { identity, ..Known::default() }));
        Self { transport, peer, peer_timeout, turns, moved: false, last_moved: now, _place: place }
    }

    /// Notes what a read or a write came to; while it waits, looks whether that has been too long.
    fn watched<R>(&mut self, outcome: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.moved = true;
            return outcome;
        }
        while self.turns.poll_tick(context).is_ready() {
            // Not the time at which the turn should have ended: it may have been long ago.
            let now = Instant::now();
            if std::mem::take(&mut self.moved) {
                self.last_moved = now;
            }
            if self.peer.0.answers.turn() || now - self.last_moved >= self.peer_timeout {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.transport).poll_read(context, into);
        self.watched(read, context)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write(context, bytes);
        self.watched(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write_vectored(context, parts);
        self.watched(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}

impl<T> Connected for Connection<T> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// Who is at the other end; each gRPC call carries it among its extensions.
#[derive(Debug, Clone, Default)]
pub struct Peer(Arc<Known>);

/// What a connection and its calls know of their peer.
#[derive(Debug, Default)]
struct Known {
    identity: Option<Identity>,
    answers: Answers,
    shares: Shares,
}

/// What there is little of, for all peers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scarce {
    /// A large request under way.
    Batch,
    /// A call that stays open.
    Stream,
}

impl Peer {
    /// Whom its certificate names, if it showed one.
    pub fn identity(&self) -> Option<&Identity> {
        self.0.identity.as_ref()
    }

    /// Notes an answer that it has to take in time, until the value is dropped.
    pub fn has_to_take(&self) -> Untaken {
        let answers = &self.0.answers;
        let turn = answers.turns.load(Ordering::Relaxed) % 2;
        answers.untaken[turn].fetch_add(1, Ordering::Relaxed);
        Untaken { peer: self.clone(), turn }
    }

    /// One of the `most` that a connection may hold at a time, until the value is dropped; `None` if it
    /// holds them all.
    pub fn share(&self, of: Scarce, most: usize) -> Option<Share> {
        let one_more = |held| (held < most).then_some(held + 1);
        self.0.shares.of(of).fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Share { peer: self.clone(), of })
    }
}

/// A peer's hold on something scarce.
#[derive(Debug)]
pub struct Share {
    peer: Peer,
    of: Scarce,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.peer.0.shares.of(self.of).fetch_sub(1, Ordering::Relaxed);
    }
}

/// How much one connection holds of each.
#[derive(Debug, Default)]
struct Shares {
    batches: AtomicUsize,
    streams: AtomicUsize,
}

impl Shares {
    fn of(&self, scarce: Scarce) -> &AtomicUsize {
        match scarce {
            Scarce::Batch => &self.batches,
            Scarce::Stream => &self.streams,
        }
    }
}

/// An answer on its way to a peer.
#[derive(Debug)]
pub struct Untaken {
    peer: Peer,
    turn: usize,
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.peer.0.answers.untaken[self.turn].fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many answers a peer has not taken, by whether they were made in an even or an odd turn.
#[derive(Debug, Default)]
struct Answers {
    turns: AtomicUsize,
    untaken: [AtomicUsize; 2],
}

impl Answers {
    /// Begins the next turn; whether an answer from before the last one is still there.
    fn turn(&self) -> bool {
        let next = self.turns.fetch_add(1, Ordering::Relaxed) + 1;
        self.untaken[next % 2].load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::Semaphore;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    async fn connected(buffer: usize) -> (Connection<DuplexStream>, DuplexStream, Arc<Semaphore>) {
        let (server, client) = tokio::io::duplex(buffer);
        let places = Arc::new(Semaphore::new(1));
        let place = places.clone().acquire_owned().await.expect("open");
        (Connection::new(server, None, TIMEOUT, place.into()), client, places)
    }

    fn timed_out<T: std::fmt::Debug>(result: io::Result<T>) {
        assert_eq!(result.expect_err("too long").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_nothing_ends_in_time_and_gives_its_place_back() {
        let (mut connection, client, places) = connected(64).await;
        let begun = Instant::now();
        timed_out(connection.read_u8().await);
        assert_eq!(begun.elapsed(), TIMEOUT);
        assert_eq!(places.available_permits(), 0);
        drop((connection, client));
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_something_now_and_then_stays() {
        let (mut connection, mut client, _places) = connected(64).await;
        for _ in 0..5 {
            tokio::time::advance(TIMEOUT / 2).await;
            client.write_u8(1).await.expect("written");
            connection.read_u8().await.expect("read");
            let next = tokio::time::timeout(Duration::ZERO, connection.read_u8()).await;
            assert!(next.is_err(), "still open, and nothing to read");
        }
        let begun = Instant::now();
        timed_out(connection.read_u8().await);
        assert!(begun.elapsed() >= TIMEOUT, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_read_ends_in_time() {
        let (mut connection, _client, _places) = connected(64).await;
        let begun = Instant::now();
        timed_out(connection.write_all(&[0; 65]).await);
        assert!(begun.elapsed() <= TIMEOUT + ANSWER_TIMEOUT);
    }

    /// As a peer does that answers every ping, and never opens the window of its call.
    #[tokio::test(start_paused = true)]
    async fn one_that_takes_no_answer_ends_though_bytes_move() {
        let (mut connection, mut client, _places) = connected(64).await;
        let peer = connection.connect_info();
        let mut chatter = async || {
            for _ in 0..30 {
                tokio::time::advance(ANSWER_TIMEOUT / 3).await;
                client.write_u8(1).await.expect("written");
                connection.read_u8().await?;
                // Waits for the next as a server does, which is when patience is looked at.
                if let Ok(ended) = tokio::time::timeout(Duration::ZERO, connection.read_u8()).await {
                    ended?;
                }
            }
            Ok(())
        };
        drop(peer.has_to_take());
        chatter().await.expect("every answer was taken");
        let begun = Instant::now();
        let untaken = peer.has_to_take();
        timed_out(chatter().await);
        let rounding = Duration::from_millis(100);
        let took = begun.elapsed();
        assert!(took >= ANSWER_TIMEOUT && took <= 2 * ANSWER_TIMEOUT + rounding, "{took:?}");
        drop(untaken);
    }
}
