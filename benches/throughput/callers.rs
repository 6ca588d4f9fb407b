//! What is asked: introspection of one token again and again, of each token once, refreshing down a
//! chain, issuing, and an echo of the same size as another conversation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message as _;
use prost_types::value::Kind;
use token_authority::proto::v1;
use tonic::codegen::Bytes;

use crate::echo::Blob;
use crate::load::Caller;

/// The first field of an answer that a token is active.
const ACTIVE: [u8; 2] = [0x08, 1];

/// Sends one request for ever, and expects each answer to begin as it should.
#[derive(Clone)]
pub(crate) struct Repeat {
    request: Bytes,
    expected: &'static [u8],
}

impl Repeat {
    /// Introspects one token.
    pub(crate) fn introspect(realm: &str, token: &str) -> Self {
        Self { request: introspect(realm, token), expected: &ACTIVE }
    }

    /// Exchanges messages as large as these two with the echo server.
    pub(crate) fn echo(request: usize, answer: usize) -> Self {
        // Fields and lengths around the payload take five and three bytes at these sizes.
        let blob = Blob { payload: vec![b'x'; request.saturating_sub(6)].into(), answer: size(answer) - 3 };
        Self { request: blob.encode_to_vec().into(), expected: &[] }
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Caller for Repeat {
    fn request(&mut self) -> Option<Bytes> {
        Some(self.request.clone())
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        answer.starts_with(self.expected).then_some(()).ok_or_else(|| "the token is not active".to_owned())
    }
}

/// Introspects tokens that it shares with others, each once.
#[derive(Clone)]
pub(crate) struct Distinct {
    requests: Arc<Mutex<Vec<Bytes>>>,
}

impl Distinct {
    pub(crate) fn new(realm: &str, tokens: &[String]) -> Self {
        Self { requests: Arc::new(Mutex::new(tokens.iter().map(|token| introspect(realm, token)).collect())) }
    }
}

impl Caller for Distinct {
    fn request(&mut self) -> Option<Bytes> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        answer.starts_with(&ACTIVE).then_some(()).ok_or_else(|| "the token is not active".to_owned())
    }
}

fn introspect(realm: &str, token: &str) -> Bytes {
    let request = v1::IntrospectTokenRequest { realm: realm.into(), token: token.into(), ..Default::default() };
    request.encode_to_vec().into()
}

/// Issues to a new subject each time, and keeps the last pair.
pub(crate) struct Issue {
    realm: &'static str,
    name: String,
    number: usize,
    /// The access tokens so far.
    pub(crate) issued: Vec<String>,
    /// The last refresh token.
    pub(crate) refresh_token: String,
}

impl Issue {
    pub(crate) fn new(realm: &'static str, name: String) -> Self {
        Self { realm, name, number: 0, issued: Vec::new(), refresh_token: String::new() }
    }
}

impl Caller for Issue {
    fn request(&mut self) -> Option<Bytes> {
        self.number += 1;
        let text = |text: &str| prost_types::Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let claims = [("tenant", text("acme")), ("role", text("member"))].map(|(name, value)| (name.into(), value));
        let request = v1::IssueTokenRequest {
            realm: self.realm.into(),
            subject: format!("{}-{}", self.name, self.number),
            client_id: "mobile".into(),
            audience: vec!["https://api.example.com".into()],
            scope: vec!["profile".into(), "orders.read".into()],
            claims: Some(prost_types::Struct { fields: claims.into() }),
            ..Default::default()
        };
        Some(request.encode_to_vec().into())
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        let answer = v1::IssueTokenResponse::decode(answer).map_err(|error| error.to_string())?;
        let tokens = answer.tokens.ok_or("no tokens")?;
        self.issued.push(tokens.access_token);
        self.refresh_token = tokens.refresh_token;
        Ok(())
    }
}

/// Logs numbered subjects in, each on two devices, and says nothing else of them.
pub(crate) struct Login {
    realm: &'static str,
    next: Arc<AtomicU64>,
    end: u64,
}

impl Login {
    /// One that shares the numbers below `end` with others.
    pub(crate) fn new(realm: &'static str, next: Arc<AtomicU64>, end: u64) -> Self {
        Self { realm, next, end }
    }
}

impl Caller for Login {
    fn request(&mut self) -> Option<Bytes> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let device_id = if number.is_multiple_of(2) { "laptop" } else { "phone" }.to_owned();
        let request = v1::IssueTokenRequest {
            realm: self.realm.into(),
            subject: format!("user-{:06}", number / 2),
            device: Some(v1::Device { device_id, ..Default::default() }),
            ..Default::default()
        };
        (number < self.end).then(|| request.encode_to_vec().into())
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        v1::IssueTokenResponse::decode(answer).map(drop).map_err(|error| error.to_string())
    }
}

/// Another caller, but not for longer than so many calls.
pub(crate) struct Few<C> {
    caller: C,
    left: usize,
}

impl<C> Few<C> {
    pub(crate) fn new(caller: C, calls: usize) -> Self {
        Self { caller, left: calls }
    }
}

impl<C: Caller> Caller for Few<C> {
    fn request(&mut self) -> Option<Bytes> {
        self.left = self.left.checked_sub(1)?;
        self.caller.request()
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        self.caller.answer(answer)
    }
}

/// Refreshes with what the refresh before it got.
pub(crate) struct Refresh {
    realm: &'static str,
    refresh_token: String,
    /// The access tokens so far.
    pub(crate) issued: Vec<String>,
}

impl Refresh {
    pub(crate) fn new(realm: &'static str, refresh_token: String) -> Self {
        Self { realm, refresh_token, issued: Vec::new() }
    }
}

impl Caller for Refresh {
    fn request(&mut self) -> Option<Bytes> {
        let refresh_token = std::mem::take(&mut self.refresh_token);
        let request = v1::RefreshTokenRequest { realm: self.realm.into(), refresh_token, ..Default::default() };
        Some(request.encode_to_vec().into())
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        let answer = v1::RefreshTokenResponse::decode(answer).map_err(|error| error.to_string())?;
        let tokens = answer.tokens.ok_or("no tokens")?;
        self.issued.push(tokens.access_token);
        self.refresh_token = tokens.refresh_token;
        Ok(())
    }
}
