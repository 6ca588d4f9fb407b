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
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::Bytes;
use zeroize::Zeroizing;

use crate::authority::one_time_codes::CodeMessage;
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
