//! One of several runtimes that share a port: what is handed over to it, and how much it has to serve.

use std::net;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tracing::debug;

use super::Accepted;
use super::connection::Place;

/// A connection between two runtimes.
pub(super) struct Handed {
    stream: net::TcpStream,
    place: Place,
}

/// The end at which connections are handed over.
pub(super) struct Lane {
    waiting: UnboundedSender<Handed>,
    /// Each of its connections has a copy.
    mark: Arc<()>,
}

impl Lane {
    pub(super) fn new(waiting: UnboundedSender<Handed>) -> Self {
        Self { waiting, mark: Arc::default() }
    }

    /// How many of its connections are open.
    pub(super) fn open(&self) -> usize {
        Arc::strong_count(&self.mark) - 1
    }

    /// Without a runtime any more, the connection is closed.
    pub(super) fn hand_over(&self, accepted: Accepted) {
        let Accepted { stream, place } = accepted;
        match stream.into_std() {
            Ok(stream) => {
                let place = place.in_lane(self.mark.clone());
                let _ = self.waiting.send(Handed { stream, place });
            }
            Err(error) => debug!(%error, "gone before it was served"),
        }
    }
}

/// Takes the connection into the runtime that this runs in.
pub(super) fn arrive(handed: Handed) -> Option<Accepted> {
    let Handed { stream, place } = handed;
    match TcpStream::from_std(stream) {
        Ok(stream) => Some(Accepted { stream, place }),
        Err(error) => {
            debug!(%error, "gone before it was served");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZero;
    use std::pin::Pin;

    use futures::stream::{Stream, StreamExt as _};

    use crate::config::{ConnectionLimits, Exposure};
    use crate::listener::{Connection, Listener};

    use super::*;

    type Connections = Pin<Box<dyn Stream<Item = Connection> + Send>>;

    /// Takes what comes out of each lane, so many in all.
    async fn taken(lanes: &mut [Connections; 2], count: usize, into: &mut [Vec<Connection>; 2]) {
        let [first, second] = lanes;
        for _ in 0..count {
            tokio::select! {
                Some(connection) = first.next() => into[0].push(connection),
                Some(connection) = second.next() => into[1].push(connection),
            }
        }
    }

    #[tokio::test]
    async fn a_connection_goes_where_the_fewest_are() {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = Listener::bind("grpc", address, Exposure::LoopbackOnly, None).await.expect("bound");
        let address = listener.address();
        let limits = ConnectionLimits { most: 16, ..ConnectionLimits::default() };
        let (accepting, lanes) = listener.lanes(limits, NonZero::new(2).expect("two"));
        let boxed = lanes.into_iter().map(|lane| Box::pin(lane) as Connections).collect::<Vec<_>>();
        let mut lanes: [Connections; 2] = boxed.try_into().ok().expect("two");
        let mut open = [Vec::new(), Vec::new()];
        let clients = async {
            let connect =
                async |count| futures::future::join_all((0..count).map(|_| TcpStream::connect(address))).await;
            let first = connect(6).await;
            taken(&mut lanes, 6, &mut open).await;
            assert_eq!(open.each_ref().map(Vec::len), [3, 3]);
            open[1].clear();
            let second = connect(3).await;
            taken(&mut lanes, 3, &mut open).await;
            assert_eq!(open.each_ref().map(Vec::len), [3, 3], "the empty one gets them");
            drop((first, second));
        };
        tokio::select! {
            () = accepting => {}
            () = clients => {}
        }
    }
}
