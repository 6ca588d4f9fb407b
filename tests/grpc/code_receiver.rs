//! The service behind a realm's webhook: takes one-time codes as any user of Standard Webhooks does, and
//! hands them to the test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;
use token_authority::domain::one_time_code::{CodeDelivery, CodePolicy};
use token_authority::domain::rate_limit::RateLimit;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

pub(crate) const SECRET: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
const TIMEOUT: Duration = Duration::from_secs(20);

/// A message that was signed as it must be.
#[derive(Debug)]
#[allow(dead_code, reason = "a vocabulary for tests, which need not use every word at a time")]
pub(crate) struct Received {
    pub(crate) id: String,
    /// In seconds since 1970.
    pub(crate) time: i64,
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn data(&self, name: &str) -> &str {
        self.body["data"][name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

pub(crate) struct CodeReceiver {
    received: Mutex<mpsc::UnboundedReceiver<Received>>,
    url: String,
    directory: TempDir,
}

struct Inbox {
    to: mpsc::UnboundedSender<Received>,
    /// What each next request is answered, before 204.
    answers: std::sync::Mutex<Vec<StatusCode>>,
}

#[allow(dead_code, reason = "a vocabulary for tests, which need not use every word at a time")]
impl CodeReceiver {
    pub(crate) async fn start() -> Self {
        Self::answering(&[]).await
    }

    /// Answers this to its first requests.
    pub(crate) async fn answering(first: &[StatusCode]) -> Self {
        let (to, received) = mpsc::unbounded_channel();
        let inbox = Inbox { to, answers: std::sync::Mutex::new(first.iter().rev().copied().collect()) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/codes?key=planted-key", listener.local_addr().expect("an address"));
        let router = Router::new().route("/codes", post(take)).with_state(Arc::new(inbox));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let directory = TempDir::new().expect("a directory");
        let secret = format!("whsec_{}\n", STANDARD.encode(SECRET));
        std::fs::write(directory.path().join("secret"), secret).expect("writes");
        Self { received: Mutex::new(received), url, directory }
    }

    /// Where it is, with a key of its own as such services have.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where it is, and by which secret it knows who sends.
    pub(crate) fn delivery(&self) -> CodeDelivery {
        CodeDelivery::Webhook { url: self.url.clone(), secret_file: self.secret_file() }
    }

    pub(crate) fn secret_file(&self) -> PathBuf {
        self.directory.path().join("secret")
    }

    /// What a realm says that has codes of the usual kind.
    pub(crate) fn policy(&self) -> CodePolicy {
        CodePolicy {
            lifetime: Duration::from_secs(300),
            attempts: 3,
            lockout: Duration::from_secs(900),
            max_failures: 100,
            requests: RateLimit::new(5, Duration::from_secs(900)).expect("a limit"),
            delivery: self.delivery(),
        }
    }

    /// The next message that arrives.
    pub(crate) async fn next(&self) -> Received {
        let next = async { self.received.lock().await.recv().await.expect("listens") };
        tokio::time::timeout(TIMEOUT, next).await.expect("a message in time")
    }

    pub(crate) async fn is_empty(&self) -> bool {
        self.received.lock().await.is_empty()
    }
}

async fn take(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: String) -> StatusCode {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
    let signature = header("webhook-signature");
    let signature = STANDARD.decode(signature.strip_prefix("v1,").expect("version 1")).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    hmac::verify(&key, format!("{id}.{time}.{body}").as_bytes(), &signature).expect("signed by the authority");
    let body = serde_json::from_str(&body).expect("JSON");
    let time = time.parse().expect("seconds");
    inbox.to.send(Received { id, time, body }).expect("the test listens");
    inbox.answers.lock().expect("whole").pop().unwrap_or(StatusCode::NO_CONTENT)
}
