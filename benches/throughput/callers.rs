//! What is asked over gRPC: introspection of one token again and again, of each token once, refreshing
//! down a chain, issuing, revoking, and an echo of the same size as another conversation.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message as _;
use prost_types::value::Kind;
use token_authority::authority::ports::Entropy as _;
use token_authority::proto::v1;
use token_authority::proto::v1::consistency::Requirement;
use tonic::codegen::Bytes;

use crate::echo::Blob;
use crate::load::{CALLERS, Caller};

pub(crate) const ISSUE: &str = "/token_authority.v1.TokenService/IssueToken";
pub(crate) const REFRESH: &str = "/token_authority.v1.TokenService/RefreshToken";
pub(crate) const INTROSPECT: &str = "/token_authority.v1.TokenService/IntrospectToken";
pub(crate) const INTROSPECT_MANY: &str = "/token_authority.v1.TokenService/BatchIntrospectTokens";
pub(crate) const REVOKE: &str = "/token_authority.v1.TokenService/RevokeToken";

/// What tokens are issued for, and to which client.
pub(crate) const AUDIENCE: &str = "https://api.example.com";
pub(crate) const CLIENT: &str = "mobile";

/// Sends one request for ever, and expects each answer to say so.
#[derive(Clone)]
pub(crate) struct Repeat {
    request: Bytes,
    expected: Expected,
}

impl Repeat {
    pub(crate) fn new(request: Bytes, expected: Expected) -> Self {
        Self { request, expected }
    }

    /// Exchanges messages as large as these two with the echo server.
    pub(crate) fn echo((request, answer): (usize, usize)) -> Self {
        // Fields and lengths around the payload take five and three bytes at these sizes.
        let blob = Blob { payload: vec![b'x'; request.saturating_sub(6)].into(), answer: size(answer) - 3 };
        Self::new(blob.encode_to_vec().into(), anything)
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
        check(&answer, self.expected)
    }
}

/// Sends requests that it shares with others: each once, or all by turns.
#[derive(Clone)]
pub(crate) struct Each {
    requests: Arc<Mutex<VecDeque<Bytes>>>,
    expected: Expected,
    again: bool,
}

impl Each {
    /// As many callers as there are, with these between them.
    pub(crate) fn of(requests: impl IntoIterator<Item = Bytes>, expected: Expected) -> Vec<Self> {
        let requests = Arc::new(Mutex::new(requests.into_iter().collect()));
        vec![Self { requests, expected, again: false }; CALLERS]
    }

    pub(crate) fn again_and_again(requests: impl IntoIterator<Item = Bytes>, expected: Expected) -> Vec<Self> {
        Self::of(requests, expected).into_iter().map(|one| Self { again: true, ..one }).collect()
    }
}

impl Caller for Each {
    fn request(&mut self) -> Option<Bytes> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let request = requests.pop_front()?;
        if self.again {
            requests.push_back(request.clone());
        }
        Some(request)
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        check(&answer, self.expected)
    }
}

/// Whether an answer is the right one.
pub(crate) type Expected = fn(&[u8]) -> bool;

fn check(answer: &[u8], expected: Expected) -> Result<(), String> {
    let shown = || format!("not the answer expected: {}", String::from_utf8_lossy(&answer[..answer.len().min(200)]));
    expected(answer).then_some(()).ok_or_else(shown)
}

pub(crate) fn anything(_: &[u8]) -> bool {
    true
}

/// By the first field of an answer about a token.
pub(crate) fn is_active(answer: &[u8]) -> bool {
    answer.starts_with(&[0x08, 1])
}

/// By its first field: one answer, and the first field of that.
pub(crate) fn first_is_active(answer: &[u8]) -> bool {
    let [0x0a, rest @ ..] = answer else { return false };
    // Behind its length, of one byte or two.
    rest.windows(2).skip(1).take(2).any(|field| field == [0x08, 1])
}

pub(crate) fn introspect(realm: &str, token: &str) -> Bytes {
    let request = v1::IntrospectTokenRequest { realm: realm.into(), token: token.into(), ..Default::default() };
    request.encode_to_vec().into()
}

/// By the record's word, not by what is in memory.
pub(crate) fn introspect_consistently(realm: &str, token: &str) -> Bytes {
    let consistency = Some(v1::Consistency { requirement: Some(Requirement::FullyConsistent(true)) });
    let (realm, token) = (realm.into(), token.into());
    v1::IntrospectTokenRequest { realm, token, consistency, ..Default::default() }.encode_to_vec().into()
}

pub(crate) fn introspect_many(realm: &str, tokens: &[String]) -> Bytes {
    let (realm, tokens) = (realm.into(), tokens.to_vec());
    v1::BatchIntrospectTokensRequest { realm, tokens, ..Default::default() }.encode_to_vec().into()
}

pub(crate) fn revoke(realm: &str, token: &str) -> Bytes {
    let request = v1::RevokeTokenRequest { realm: realm.into(), token: token.into(), ..Default::default() };
    request.encode_to_vec().into()
}

/// Issues to a new subject each time, and keeps the last pair.
#[derive(Clone)]
pub(crate) struct Issue {
    realm: &'static str,
    client: &'static str,
    name: String,
    number: usize,
    /// The access tokens so far.
    pub(crate) issued: Vec<String>,
    /// The last refresh token.
    pub(crate) refresh_token: String,
}

impl Issue {
    /// As many as there are callers, with subjects that nobody had before.
    pub(crate) fn all(realm: &'static str, client: &'static str) -> Vec<Self> {
        let mut random = [0; 4];
        token_authority::system::SystemEntropy.fill(&mut random);
        let name = |caller| format!("subject-{:08x}-{caller}", u32::from_be_bytes(random));
        let (issued, refresh_token) = (Vec::new(), String::new());
        let one = Self { realm, client, name: String::new(), number: 0, issued, refresh_token };
        (0..CALLERS).map(|caller| Self { name: name(caller), ..one.clone() }).collect()
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
            client_id: self.client.into(),
            audience: vec![AUDIENCE.into()],
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

/// Logs numbered subjects in, each on two devices, and keeps some of their tokens.
pub(crate) struct Login {
    realm: &'static str,
    next: Arc<AtomicU64>,
    end: u64,
    keep_each: u64,
    /// Of each so-manieth session, all over what there is.
    pub(crate) kept: Vec<v1::TokenPair>,
    number: u64,
}

impl Login {
    /// As many as there are callers, for the sessions from one number to another.
    pub(crate) fn all(realm: &'static str, sessions: std::ops::Range<u64>, kept: u64) -> Vec<Self> {
        let next = Arc::new(AtomicU64::new(sessions.start));
        let keep_each = ((sessions.end - sessions.start) / kept).max(1);
        let one = || Self { realm, next: next.clone(), end: sessions.end, keep_each, kept: Vec::new(), number: 0 };
        (0..CALLERS).map(|_| one()).collect()
    }
}

impl Caller for Login {
    fn request(&mut self) -> Option<Bytes> {
        self.number = self.next.fetch_add(1, Ordering::Relaxed);
        let device_id = if self.number.is_multiple_of(2) { "laptop" } else { "phone" }.to_owned();
        let request = v1::IssueTokenRequest {
            realm: self.realm.into(),
            subject: format!("user-{:08}", self.number / 2),
            device: Some(v1::Device { device_id, ..Default::default() }),
            ..Default::default()
        };
        (self.number < self.end).then(|| request.encode_to_vec().into())
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        let answer = v1::IssueTokenResponse::decode(answer).map_err(|error| error.to_string())?;
        if self.number.is_multiple_of(self.keep_each) {
            self.kept.extend(answer.tokens);
        }
        Ok(())
    }
}

/// Another caller, but not for longer than so many calls.
pub(crate) struct Few<C> {
    pub(crate) caller: C,
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

/// Refreshes its sessions by turns, each with what its last refresh got.
#[derive(Clone)]
pub(crate) struct Refresh {
    realm: &'static str,
    /// The refresh tokens that are next.
    pub(crate) chains: VecDeque<String>,
    /// The access tokens so far.
    pub(crate) issued: Vec<String>,
}

impl Refresh {
    pub(crate) fn new(realm: &'static str, refresh_token: String) -> Self {
        Self { realm, chains: [refresh_token].into(), issued: Vec::new() }
    }

    /// As many as there are callers, each with its share.
    pub(crate) fn all(realm: &'static str, refresh_tokens: impl IntoIterator<Item = String>) -> Vec<Self> {
        let none = Self { realm, chains: VecDeque::new(), issued: Vec::new() };
        let mut callers = vec![none; CALLERS];
        for (number, token) in refresh_tokens.into_iter().enumerate() {
            callers[number % CALLERS].chains.push_back(token);
        }
        callers
    }
}

impl Caller for Refresh {
    fn request(&mut self) -> Option<Bytes> {
        let refresh_token = self.chains.pop_front()?;
        let request = v1::RefreshTokenRequest { realm: self.realm.into(), refresh_token, ..Default::default() };
        Some(request.encode_to_vec().into())
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        let answer = v1::RefreshTokenResponse::decode(answer).map_err(|error| error.to_string())?;
        let tokens = answer.tokens.ok_or("no tokens")?;
        self.issued.push(tokens.access_token);
        self.chains.push_back(tokens.refresh_token);
        Ok(())
    }
}
