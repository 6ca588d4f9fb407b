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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{Ipv4Addr, SocketAddr};

    use futures::stream::{Stream, StreamExt as _};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
    use rustls::pki_types::ServerName;
    use rustls::time_provider::DefaultTimeProvider;
    use rustls::{ClientConfig, HandshakeKind, RootCertStore};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client;
    use tonic::transport::server::Connected as _;

    use crate::config::{ConnectionLimits, Exposure, TlsConfig};
    use crate::listener::{Connection, Listener};

    use super::*;

    const SHOP: &str = "spiffe://example.org/shop";

    /// Listeners with certificates, and clients with one of the same authority or none.
    struct Scene {
        certificates: Certificates,
        authority: CertifiedIssuer<'static, KeyPair>,
    }

    impl Scene {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
            let directory = TempDir::new().expect("a directory");
            let file = |name: &str, text: String| {
                let file = directory.path().join(name);
                fs::write(&file, text).expect("writes");
                file
            };
            let (certificate, key) = signed(&authority, SanType::DnsName("localhost".try_into().expect("ASCII")));
            let files = TlsConfig {
                certificate: file("certificate.pem", certificate.pem()),
                key: file("key.pem", key.serialize_pem()),
                client_ca: Some(file("ca.pem", authority.pem())),
                grpc: TlsMode::Mutual,
                http: TlsMode::Optional,
            };
            let certificates = Certificates::open(files, Arc::new(DefaultTimeProvider)).expect("in order");
            Self { certificates, authority }
        }

        /// What a client without a certificate has.
        fn anonymous(&self) -> ClientConfig {
            ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth()
        }

        fn shop(&self) -> ClientConfig {
            let (certificate, key) = signed(&self.authority, SanType::URI(SHOP.try_into().expect("ASCII")));
            let key = key.serialize_der().try_into().expect("a key");
            let config = ClientConfig::builder().with_root_certificates(self.roots());
            config.with_client_auth_cert(vec![certificate.der().clone()], key).expect("a pair")
        }

        fn roots(&self) -> RootCertStore {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).expect("an authority");
            roots
        }
    }

    fn signed(authority: &CertifiedIssuer<'_, KeyPair>, name: SanType) -> (rcgen::Certificate, KeyPair) {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().expect("a key"));
        params.subject_alt_names = vec![name];
        (params.signed_by(&key, authority).expect("signs"), key)
    }

    async fn listening(tls: Option<Tls>) -> (SocketAddr, impl Stream<Item = Connection>) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::bind("grpc", any, Exposure::LoopbackOnly, tls).await.expect("binds");
        (listener.address(), listener.connections(ConnectionLimits::default()))
    }

    async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(config.clone()).connect(name, stream).await
    }

    #[tokio::test]
    async fn a_connection_knows_whom_its_certificate_names() {
        let scene = Scene::new();
        let shop = Some(Identity::Spiffe(SHOP.to_owned()));
        for (name, tls, config, identity) in [
            ("mutual", scene.certificates.grpc(), scene.shop(), shop.clone()),
            ("optional", scene.certificates.http(), scene.shop(), shop),
            ("optional, none", scene.certificates.http(), scene.anonymous(), None),
        ] {
            let (address, connections) = listening(tls).await;
            let mut connections = std::pin::pin!(connections);
            let config = Arc::new(config);
            let (client, server) = tokio::join!(connect(address, &config), connections.next());
            let (_client, server) = (client.expect("connects"), server.expect("accepted"));
            assert_eq!(server.connect_info().identity(), identity.as_ref(), "{name}");
        }
    }

    #[tokio::test]
    async fn an_edge_speaks_no_other_protocol() {
        let scene = Scene::new();
        for (protocol, spoken) in [("h2", true), ("http/1.1", false)] {
            let (address, connections) = listening(scene.certificates.grpc()).await;
            let mut connections = std::pin::pin!(connections);
            let mut config = scene.shop();
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            let config = Arc::new(config);
            let served = tokio::select! {
                connected = connect(address, &config) => connected.is_ok(),
                _ = connections.next() => true,
            };
            assert_eq!(served, spoken, "{protocol}");
        }
    }

    /// Or an expired certificate would be as good as a valid one, as long as its session is kept.
    #[tokio::test]
    async fn each_connection_shows_the_certificate_anew() {
        let scene = Scene::new();
        let (address, connections) = listening(scene.certificates.grpc()).await;
        let mut connections = std::pin::pin!(connections);
        let config = Arc::new(scene.shop());
        for _ in 0..2 {
            let (client, server) = tokio::join!(connect(address, &config), connections.next());
            let (mut client, mut server) = (client.expect("connects"), server.expect("accepted"));
            // Tickets come with the first bytes.
            server.write_u8(1).await.expect("writes");
            server.flush().await.expect("writes");
            client.read_u8().await.expect("reads");
            assert_eq!(client.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}
