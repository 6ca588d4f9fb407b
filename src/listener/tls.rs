//! TLS of one listener: a handshake with what is in force when it begins, and whom it shows. Knows
//! neither files nor what else is spoken.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsMode;

use super::identity::Identity;

mod certificates;
mod material;

pub use certificates::Certificates;
pub use material::TlsError;

/// How one listener speaks TLS.
#[derive(Clone)]
pub struct Tls {
    mode: TlsMode,
    current: watch::Receiver<Arc<ServerConfig>>,
}

impl Tls {
    /// Whether each client that gets in has shown a certificate.
    pub(super) fn authenticates(&self) -> bool {
        self.mode == TlsMode::Mutual
    }

    /// Shakes hands; with whom, if the client showed a certificate.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Identity>)> {
        let current = self.current.borrow().clone();
        let stream = TlsAcceptor::from(current).accept(stream).await?;
        let identity = match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
            None => None,
            Some(certificate) => Some(Identity::of(certificate).ok_or_else(|| {
                io::Error::other("the client's certificate names nobody: it needs one SPIFFE id, or DNS names")
            })?),
        };
        Ok((stream, identity))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({:?})", self.mode)
    }
}
