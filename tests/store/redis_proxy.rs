//! A TCP proxy of the test's own between a Redis and whoever speaks to it: passes everything on until it
//! is told otherwise. Knows of the protocol only how a commit looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug)]
pub(crate) struct RedisProxy {
    port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    target: AtomicU16,
    /// Nothing that the server says arrives.
    withholding: AtomicBool,
    /// So many answers to commits are still to be cut off.
    cuts: AtomicUsize,
    /// Each change cuts every connection.
    connected: watch::Sender<()>,
}

impl RedisProxy {
    /// In front of the server on this port.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let state = Arc::new(State {
            target: AtomicU16::new(port),
            withholding: AtomicBool::new(false),
            cuts: AtomicUsize::new(0),
            connected: watch::Sender::new(()),
        });
        let accepting = tokio::task::spawn(accept(listener, state.clone()));
        Self { port: own, state, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection; new ones go to the server on this port.
    pub(crate) fn hand_over(&self, port: u16) {
        self.state.target.store(port, Ordering::SeqCst);
        self.state.withholding.store(false, Ordering::SeqCst);
        self.state.connected.send_replace(());
    }

    /// Lets nothing through any more that the server says, while it hears everything: a replica that
    /// falls behind without anybody noticing. Ends with `hand_over`.
    pub(crate) fn withhold(&self) {
        self.state.withholding.store(true, Ordering::SeqCst);
    }

    /// Cuts the connections of the next `number` commits after the server has carried them out and
    /// before the answer arrives.
    pub(crate) fn cut_answers(&self, number: usize) {
        self.state.cuts.store(number, Ordering::SeqCst);
    }

    /// How many cuts are still to come.
    pub(crate) fn cuts_left(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for RedisProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.state.connected.send_replace(());
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::task::spawn(pass(client, state.clone()));
    }
}

/// Until either side is gone, or everybody is cut off.
async fn pass(mut client: TcpStream, state: Arc<State>) {
    let mut connected = state.connected.subscribe();
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", state.target.load(Ordering::SeqCst))).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut said, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut doomed = false;
    loop {
        tokio::select! {
            _ = connected.changed() => return,
            read = client.read(&mut said) => {
                let Ok(length @ 1..) = read else { return };
                doomed |= is_commit(&said[..length]) && state.takes_a_cut();
                if server.write_all(&said[..length]).await.is_err() { return }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if doomed { return }
                let withheld = state.withholding.load(Ordering::SeqCst);
                if !withheld && client.write_all(&answered[..length]).await.is_err() { return }
            }
        }
    }
}

impl State {
    fn takes_a_cut(&self) -> bool {
        self.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |cuts| cuts.checked_sub(1)).is_ok()
    }
}

/// A script that is given a subject's record.
fn is_commit(bytes: &[u8]) -> bool {
    let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    contains(b"EVALSHA") && contains(b"}:s:")
}
