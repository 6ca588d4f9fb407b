//! One POST in the form of Standard Webhooks (standardwebhooks.com), over HTTP or HTTPS: JSON, signed with
//! its id and time. Knows no second try.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::authority::outbox::CodeMessage;
use crate::domain::time::Timestamp;

use super::DeliveryError;

/// For one try, from the connection to the answer.
const DEADLINE: Duration = Duration::from_secs(5);
const SECRET_PREFIX: &str = "whsec_";
/// As the specification wants it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Answers after which the same may be sent again, beside those of 500 and more.
const RETRIED: [StatusCode; 3] = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];

/// Why a message was not taken.
#[derive(Debug)]
pub(super) enum Undelivered {
    /// The service does not want it.
    Refused(u16),
    /// It may be sent again.
    Failed(String),
}

impl Undelivered {
    fn failed(cause: impl fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }
}

/// Signs what is sent.
pub(super) struct Secret(hmac::Key);

impl Secret {
    /// Reads it from its file: `whsec_` and 24 to 64 bytes in base64.
    pub(super) fn read(file: &Path) -> Result<Self, DeliveryError> {
        let wrong = |problem: String| DeliveryError::Secret { file: file.to_owned(), problem };
        let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|error| wrong(error.to_string()))?;
        let decoded = text.trim().strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text).ok());
        let bytes = decoded.map(Zeroizing::new).filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
        let bytes = bytes.ok_or_else(|| wrong("must hold whsec_ and 24 to 64 random bytes in base64".to_owned()))?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    fn sign(&self, id: &str, time: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{time}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

/// Posts messages, each over a connection of its own.
pub(super) struct Webhook {
    tls: TlsConnector,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook")
    }
}

impl Webhook {
    /// Trusts whom the system trusts.
    pub(super) fn new() -> Result<Self, DeliveryError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, DeliveryError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = versions.map_err(|error| DeliveryError::Roots(error.to_string()))?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends a message once.
    pub(super) async fn post(
        &self,
        url: &str,
        secret_file: &Path,
        message: &CodeMessage,
        now: Timestamp,
    ) -> Result<(), Undelivered> {
        // At each time, so that a new secret is taken up.
        let secret = Secret::read(secret_file).map_err(Undelivered::failed)?;
        let url: Uri = url.parse().map_err(Undelivered::failed)?;
        let request = request(&url, &secret, message, now).map_err(Undelivered::failed)?;
        let answering = tokio::time::timeout(DEADLINE, self.send(&url, request));
        let status = answering.await.map_err(|_| Undelivered::failed("no answer in time"))??;
        match status {
            _ if status.is_success() => Ok(()),
            _ if status.is_server_error() || RETRIED.contains(&status) => Err(Undelivered::failed(status)),
            _ => Err(Undelivered::Refused(status.as_u16())),
        }
    }

    async fn send(&self, url: &Uri, request: Request<Full<Bytes>>) -> Result<StatusCode, Undelivered> {
        let host = url.host().ok_or_else(|| Undelivered::failed("the URL has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secure = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(Undelivered::failed)?;
        if !secure {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(Undelivered::failed)?;
        exchange(self.tls.connect(name, stream).await.map_err(Undelivered::failed)?, request).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, Undelivered> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Undelivered::failed)?;
    // The connection ends once nobody can send over it any more.
    let answering = async move { sender.send_request(request).await.map(|answer| answer.status()) };
    let (answer, _) = futures::future::join(answering, connection).await;
    answer.map_err(Undelivered::failed)
}

fn request(
    url: &Uri,
    secret: &Secret,
    message: &CodeMessage,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let id = format!("msg_{}", URL_SAFE_NO_PAD.encode(message.id));
    let time = |time: Timestamp| {
        let since = Duration::from_millis(u64::try_from(time.millis()).unwrap_or(0));
        humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
    };
    let body = json!({
        "type": "one_time_code.requested",
        "timestamp": time(message.made),
        "data": {
            "realm": message.realm.as_str(),
            "recipient": message.recipient.as_str(),
            "code": message.code.as_str(),
            "client_id": message.client.as_ref().map(ToString::to_string).unwrap_or_default(),
            "expire_time": time(message.expires),
        },
    })
    .to_string();
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let host = url.authority().map_or("", |authority| authority.as_str());
    Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", now.seconds())
        .header("webhook-signature", secret.sign(&id, now.seconds(), &body))
        .body(Full::new(body.into()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::domain::ids::RealmName;
    use crate::domain::one_time_code::{CodeDelivery, Recipient};

    fn secret_file(text: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("secret"), text).expect("writes");
        directory
    }

    /// The example that users of the specification test themselves with.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let directory = secret_file("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        let secret = Secret::read(&directory.path().join("secret")).expect("a secret");
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        for text in ["", "hunter2", "whsec_aHVudGVyMg==", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let directory = secret_file(text);
            let error = Secret::read(&directory.path().join("secret")).err().expect(text).to_string();
            assert!(error.contains("whsec_ and 24 to 64") && !error.contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_webhook_over_tls_is_trusted_by_its_certificate_alone() {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = certificate.self_signed(&key).expect("a certificate").der().clone();
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let server = server.expect("versions").with_no_client_auth();
        let server = server.with_single_cert(vec![certificate.clone()], private).expect("a server");
        let listener = TcpListener::bind("localhost:0").await.expect("a port");
        let url = format!("https://localhost:{}/codes", listener.local_addr().expect("an address").port());
        let serve = async {
            let acceptor = TlsAcceptor::from(Arc::new(server));
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut read = vec![0; 4096];
                let length = stream.read(&mut read).await.expect("a request");
                assert!(read[..length].starts_with(b"POST /codes HTTP/1.1\r\n"));
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("answers");
            }
        };
        let directory = secret_file("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let file = directory.path().join("secret");
        let now = Timestamp::from_seconds(1_800_000_000);
        let message = CodeMessage {
            id: [7; 16],
            realm: RealmName::parse("web").expect("a name"),
            delivery: CodeDelivery::Log,
            recipient: Recipient::parse("+49170").expect("a recipient"),
            code: "123456".to_owned().into(),
            client: None,
            made: now,
            expires: now,
        };
        let ask = async {
            let mut roots = RootCertStore::empty();
            let trusting = Webhook::trusting(roots.clone()).expect("no roots");
            let refused = trusting.post(&url, &file, &message, now).await;
            assert!(matches!(refused, Err(Undelivered::Failed(_))), "{refused:?}");
            roots.add(certificate).expect("a root");
            Webhook::trusting(roots).expect("a root").post(&url, &file, &message, now).await.expect("taken");
        };
        tokio::select! {
            () = serve => {}
            () = ask => {}
        }
    }
}
