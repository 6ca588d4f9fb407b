//! Where peers connect: both edges accept here, within the same limits, in plaintext or TLS. What a
//! connection carries beyond that is the edge's.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::either::Either;
use tracing::{debug, warn};

use crate::config::{ConnectionLimits, Exposure};

use connection::{Place, Transport};
use lane::Lane;

mod connection;
mod identity;
mod lane;
mod tls;

pub use connection::{Connection, Peer, Scarce, Untaken};
pub use identity::Identity;
pub use tls::{Certificates, Tls, TlsError};

/// How long nothing is accepted once the machine has no file handles or memory for it: asking again
/// at once would only burn the processor that those who are connected need.
const RECOVERY: Duration = Duration::from_millis(500);
/// How many connections the kernel completes before they are accepted, if the system allows as many
/// (`somaxconn`). Beyond, a peer may believe itself connected and wait for ever.
const BACKLOG: u32 = 4_096;
/// How many handshakes are under way at a time; who comes then waits in the kernel's queue, since
/// handshakes take milliseconds unless somebody means harm.
const MOST_HANDSHAKES: usize = 1_024;

/// Why a listener can't listen: what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Beyond loopback anybody could read tokens.
    #[error(
        "{field} = {address} is not a loopback address, and in plaintext anybody on the way could read tokens: listen \
         on 127.0.0.1, speak TLS ([tls] certificate), or pass --insecure if the network in front keeps strangers out"
    )]
    Exposed {
        /// The field or flag.
        field: &'static str,
        /// What it says.
        address: SocketAddr,
    },
    /// The port can't be had.
    #[error(
        "can't listen on {field} = {address}: {source}; stop what uses it, or choose another address with --{field}"
    )]
    Taken {
        /// The field or flag.
        field: &'static str,
        /// What it says.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Listener {
    /// Binds the address of a field; plaintext without TLS.
    pub async fn bind(
        field: &'static str,
        address: SocketAddr,
        exposure: Exposure,
        tls: Option<Tls>,
    ) -> Result<Self, ListenError> {
        if exposure == Exposure::LoopbackOnly && tls.is_none() && !address.ip().is_loopback() {
            return Err(ListenError::Exposed { field, address });
        }
        let taken = |source| ListenError::Taken { field, address, source };
        let socket = listen(address).map_err(taken)?;
        let address = socket.local_addr().map_err(taken)?;
        Ok(Self { socket, address, tls })
    }

    /// Where it listens: with the port that was free, where any was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections, each once it is ready to be served. Whoever drops the stream closes the port.
    pub fn connections(self, limits: ConnectionLimits) -> impl Stream<Item = Connection> + Send {
        let door = Door::new(self.socket, limits.most);
        let accepted = stream::unfold(door, async |mut door| Some((door.accept().await, door)));
        established(accepted, self.tls, limits)
    }

    /// The same in several streams, for runtimes of their own: a connection comes out of the one that
    /// serves the fewest, and belongs to the runtime that polls it. The future accepts; whoever drops it
    /// closes the port.
    pub fn lanes(
        self,
        limits: ConnectionLimits,
        count: NonZero<usize>,
    ) -> (impl Future<Output = ()> + Send, Vec<impl Stream<Item = Connection> + Send>) {
        let (mut lanes, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..count.get() {
            // Bounded by the places that there are.
            let (handed, waiting) = mpsc::unbounded_channel();
            lanes.push(Lane::new(handed));
            let arriving = UnboundedReceiverStream::new(waiting).filter_map(async |handed| lane::arrive(handed));
            streams.push(established(arriving, self.tls.clone(), limits));
        }
        let mut door = Door::new(self.socket, limits.most);
        let accepting = async move {
            loop {
                let accepted = door.accept().await;
                if let Some(lane) = lanes.iter_mut().min_by_key(|lane| lane.open()) {
                    lane.hand_over(accepted);
                }
            }
        };
        (accepting, streams)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the connections of before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection that nothing was read from yet.
struct Accepted {
    stream: TcpStream,
    place: Place,
}

/// Lets peers in while there are places.
struct Door {
    socket: TcpListener,
    places: Arc<Semaphore>,
    /// Whether the last to come found no place.
    full: bool,
}

impl Door {
    fn new(socket: TcpListener, places: usize) -> Self {
        Self { socket, places: Arc::new(Semaphore::new(places)), full: false }
    }

    /// One that finds no place is closed at once: its client learns at once that it has to go
    /// elsewhere. Left in the kernel's queue it would look connected, and hang.
    async fn accept(&mut self) -> Accepted {
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    let place = self.places.clone().try_acquire_owned().ok();
                    let was_full = std::mem::replace(&mut self.full, place.is_none());
                    match place {
                        Some(place) => return Accepted { stream, place: place.into() },
                        None if !was_full => warn!("no place for another connection: server.max_connections are open"),
                        None => {}
                    }
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    warn!(%error, "can't accept connections");
                    tokio::time::sleep(RECOVERY).await;
                }
            }
        }
    }
}

/// Gone before it was accepted: the next one may be well.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Those that are ready to be served. One that takes its time keeps nobody behind it waiting.
fn established(
    accepted: impl Stream<Item = Accepted> + Send,
    tls: Option<Tls>,
    limits: ConnectionLimits,
) -> impl Stream<Item = Connection> + Send {
    accepted
        .map(move |accepted| establish(accepted, tls.clone(), limits))
        .buffer_unordered(limits.most.min(MOST_HANDSHAKES))
        .filter_map(std::future::ready)
}

/// What has to be done before a connection is served; each one for itself, beside the accepting.
async fn establish(accepted: Accepted, tls: Option<Tls>, limits: ConnectionLimits) -> Option<Connection> {
    let Accepted { stream, place } = accepted;
    match shake_hands(stream, tls, limits.handshake_timeout).await {
        Ok((transport, identity)) => Some(Connection::new(transport, identity, limits.peer_timeout, place)),
        Err(error) => {
            debug!(%error, "gone before it was served");
            None
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    tls: Option<Tls>,
    timeout: Duration,
) -> io::Result<(Transport, Option<Identity>)> {
    // Without it each call waits 40 ms for the kernel's delayed acknowledgement.
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok((Either::Left(stream), None)) };
    let (stream, identity) = tokio::time::timeout(timeout, tls.accept(stream)).await??;
    Ok((Either::Right(Box::new(stream)), identity))
}
