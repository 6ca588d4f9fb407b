//! Both listeners over TLS, as a server that runs for years meets it: clients with the right
//! certificate, the wrong one or none, and files that are renewed underneath.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use token_authority::client::{AuthorityChannel, ChannelOptions};
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::certificates::{Authority, Files, Pair};
use crate::server_process::ServerProcess;

/// A loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with certificates, and an authority that vouches for both sides.
struct Scene {
    authority: Authority,
    directory: TempDir,
    server: ServerProcess,
}

impl Scene {
    fn start(more: &str) -> Self {
        let (authority, directory) = (Authority::new(), TempDir::new().expect("a directory"));
        let files = Files(directory.path());
        files.write(&authority.server(), &authority);
        let server = ServerProcess::start_in(directory.path(), &["--config", &files.config(more)]);
        Self { authority, directory, server }
    }

    fn files(&self) -> Files<'_> {
        Files(self.directory.path())
    }

    async fn asks(&self, server: &Authority, client: Option<&Pair>) -> Result<Client, String> {
        Client::connect(self.server.grpc(), server, client).await
    }
}

/// A client that has been answered once.
struct Client(TokenServiceClient<AuthorityChannel>);

impl Client {
    async fn connect(address: SocketAddr, server: &Authority, own: Option<&Pair>) -> Result<Self, String> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(server.pem()));
        if let Some(own) = own {
            tls = tls.identity(Identity::from_pem(&own.certificate, &own.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address");
        let channel = endpoint.tls_config(tls).expect("certificates").connect().await;
        let mut client = Self(TokenServiceClient::new(channel.map_err(|error| format!("{error:?}"))?.into()));
        // A client of TLS 1.3 learns with the first answer that it is not wanted.
        client.call().await?;
        Ok(client)
    }

    async fn call(&mut self) -> Result<(), String> {
        // Which anybody may have whom TLS lets in.
        let call = self.0.get_jwks(v1::GetJwksRequest::default());
        let call = tokio::time::timeout(PATIENCE, call).await.expect("in time");
        call.map(drop).map_err(|status| format!("{status:?}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_a_certificate_of_the_authority_is_served() {
    let scene = Scene::start("");
    let (authority, stranger) = (&scene.authority, Authority::new());
    scene.asks(authority, Some(&authority.client())).await.map(drop).expect("served");
    for (name, certificate) in [
        ("none", None),
        ("expired", Some(authority.expired_client())),
        ("of another authority", Some(stranger.client())),
        ("that names nobody", Some(authority.nameless_client())),
    ] {
        let served = scene.asks(authority, certificate.as_ref()).await;
        assert!(served.is_err(), "a certificate {name} was good enough");
    }
    let fooled = scene.asks(&stranger, Some(&authority.client())).await;
    assert!(fooled.is_err(), "a server of another authority was believed");
    let plaintext = Endpoint::from_shared(format!("http://{}", scene.server.grpc())).expect("an address");
    if let Ok(plaintext) = plaintext.connect().await {
        assert!(Client(TokenServiceClient::new(plaintext.into())).call().await.is_err(), "plaintext was answered");
    }
    scene.asks(authority, Some(&authority.client())).await.map(drop).expect("still served");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_come_without_a_certificate_still_may_not_bring_a_wrong_one() {
    let scene = Scene::start("grpc = \"optional\"\n");
    let authority = &scene.authority;
    scene.asks(authority, None).await.map(drop).expect("served");
    scene.asks(authority, Some(&authority.client())).await.map(drop).expect("served");
    assert!(scene.asks(authority, Some(&Authority::new().client())).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_speaks_tls_too_and_each_listener_as_it_is_told() {
    let scene = Scene::start("http = \"server\"\n");
    let http = scene.server.http();
    let (protocol, answer) = get(http, &scene.authority, None, "/.well-known/jwks.json").await.expect("served");
    assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"keys\""), "{answer}");
    assert!(scene.asks(&scene.authority, None).await.is_err(), "gRPC asks for a certificate");

    let issuer = scene.asks(&scene.authority, Some(&scene.authority.client())).await.expect("served").issuer().await;
    assert_eq!(issuer, format!("https://{http}"));

    let scene = Scene::start("grpc = \"off\"\n");
    let refused = get(scene.server.http(), &scene.authority, None, "/livez").await;
    assert!(refused.is_none(), "{refused:?}");
    let client = scene.authority.client();
    let (_, answer) = get(scene.server.http(), &scene.authority, Some(&client), "/livez").await.expect("served");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    TokenServiceClient::connect(scene.server.endpoint()).await.expect("plaintext");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_without_a_certificate_have_a_port_that_tells_health_alone() {
    let scene = Scene::start("[server]\nhealth = \"127.0.0.1:0\"\n");
    let line = scene.server.wait_for_line("health=", PATIENCE);
    let (_, address) = line.split_once("health=").expect("an address");
    let channel = Channel::from_shared(format!("http://{address}")).expect("an address").connect().await;
    let channel = channel.expect("connects");
    let mut health = HealthClient::new(channel.clone());
    let answer = health.check(HealthCheckRequest { service: "readiness".into() }).await.expect("answers");
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    let request = v1::IssueTokenRequest { subject: "alice".into(), ..Default::default() };
    let refused = TokenServiceClient::new(channel).issue_token(request).await.expect_err("not here");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_files_are_taken_in_and_open_connections_stay() {
    let scene = Scene::start("");
    let (old, new) = (&scene.authority, Authority::new());
    let mut open = scene.asks(old, Some(&old.client())).await.expect("served");

    scene.files().write(&new.server(), &new);
    scene.server.send_signal("HUP");
    scene.server.wait_for_line("new certificates are in use", PATIENCE);
    scene.asks(&new, Some(&new.client())).await.map(drop).expect("served");
    assert!(scene.asks(&new, Some(&old.client())).await.is_err(), "whom nobody vouches for any more");
    assert!(scene.asks(old, Some(&new.client())).await.is_err(), "the old certificate is still shown");
    open.call().await.expect("still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdks_channel_shows_its_certificate() {
    let scene = Scene::start("");
    let own = scene.authority.client();
    let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(scene.authority.pem()));
    let showing = trusting.clone().identity(Identity::from_pem(&own.certificate, &own.key));
    let addresses = [format!("https://{}", scene.server.grpc())];
    for (tls, served) in [(showing, true), (trusting, false)] {
        let channel = ChannelOptions::default().balance_over_tls(&addresses, &tls).expect("a channel");
        assert_eq!(Client(TokenServiceClient::new(channel)).call().await.is_ok(), served);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_files_are_refused_and_the_old_ones_stay() {
    let scene = Scene::start("");
    let (authority, client) = (&scene.authority, scene.authority.client());
    let server_key = scene.files().path("server-key.pem");
    for (wrong, says) in
        [(authority.server().key, "is not the key of the certificate"), ("garbage".to_owned(), "private key as PEM")]
    {
        fs::write(&server_key, wrong).expect("writes");
        scene.server.send_signal("HUP");
        let line = scene.server.wait_for_line(says, PATIENCE);
        assert!(line.contains("ERROR") && line.contains(server_key.to_str().expect("UTF-8")), "{line}");
        scene.asks(authority, Some(&client)).await.map(drop).expect("served as before");
    }
}

impl Client {
    async fn issuer(mut self) -> String {
        let login = v1::IssueTokenRequest { subject: "alice".into(), ..Default::default() };
        let tokens = self.0.issue_token(login).await.expect("issues").into_inner().tokens.expect("tokens");
        let request = v1::IntrospectTokenRequest { token: tokens.access_token, ..Default::default() };
        self.0.introspect_token(request).await.expect("answers").into_inner().issuer
    }
}

/// The protocol that was chosen, and the answer; `None` if there was none.
async fn get(
    address: SocketAddr,
    authority: &Authority,
    own: Option<&Pair>,
    path: &str,
) -> Option<(Option<Vec<u8>>, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
            config.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.expect("connects");
    let name = ServerName::IpAddress(address.ip().into());
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    (read.is_ok() && !answer.is_empty()).then(|| (protocol, String::from_utf8(answer).expect("UTF-8")))
}
