//! Clients under load that remember what was acknowledged to them, and compare it with what the servers
//! say after a fault. Knows the API alone: neither the fault nor the store.
//!
//! What must hold after every run: acknowledged revocations hold; no generation has two successors; no
//! consumed one yields a token but that successor; no session ends without a revocation or a real
//! replay; each unexpired token verifies against the key set served then; no absolute expiry moves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use token_authority::proto::v1;
use token_authority::proto::v1::consistency::Requirement;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::test_server::refusal;

const SESSIONS_A_CLIENT: usize = 6;
/// Generous: a loaded machine is slow.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// A client with its own subject, so that it knows all that happens to its sessions.
pub(crate) struct Client {
    subject: String,
    servers: Vec<Server>,
    known: Vec<Known>,
    /// Every access token that was ever acknowledged.
    issued: Vec<String>,
    random: u64,
    logins: u64,
    counts: Counts,
}

#[derive(Clone)]
struct Server {
    tokens: TokenServiceClient<Channel>,
    sessions: SessionServiceClient<Channel>,
}

/// What one client knows of one of its sessions.
struct Known {
    id: String,
    /// The newest pair that was acknowledged.
    access: String,
    refresh: String,
    /// Consumed refresh tokens, oldest first.
    consumed: Vec<String>,
    /// The answer to a refresh was cut off: the newest pair may have a successor.
    in_doubt: bool,
    /// Its absolute expiry, once seen.
    expires: Option<i64>,
    end: End,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    Live,
    /// With the revision that proves it.
    Acknowledged(String),
    /// The answer to its revocation was cut off.
    Unknown,
}

#[derive(Default, Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) cut_off: u64,
    pub(crate) checked: u64,
    pub(crate) violations: u64,
}

/// How far all clients together have got, and when they are to end.
#[derive(Default)]
pub(crate) struct Progress {
    acknowledged: AtomicU64,
    cut_off: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    /// Waits until so many further operations were acknowledged.
    pub(crate) async fn further(&self, operations: u64) {
        grow(&self.acknowledged, operations).await;
    }

    /// Waits until so many further answers were cut off.
    #[allow(dead_code, reason = "who kills the server needs not wait for that")]
    pub(crate) async fn cut_off(&self, answers: u64) {
        grow(&self.cut_off, answers).await;
    }
}

async fn grow(count: &AtomicU64, by: u64) {
    let goal = count.load(Ordering::SeqCst) + by;
    let reached = async {
        while count.load(Ordering::SeqCst) < goal {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PROGRESS_WITHIN, reached).await.expect("the load goes on");
}

/// So many clients, each of all servers.
pub(crate) fn clients(number: usize, servers: &[Channel]) -> Vec<Client> {
    (0..number).map(|number| Client::new(number, servers)).collect()
}

/// Has the clients work until `fault` has happened.
pub(crate) async fn under_load(clients: Vec<Client>, fault: impl AsyncFnOnce(&Progress)) -> Vec<Client> {
    let progress = std::sync::Arc::new(Progress::default());
    let running = clients.into_iter().map(|mut client| {
        let progress = progress.clone();
        tokio::task::spawn(async move {
            client.load(&progress).await;
            client
        })
    });
    let running: Vec<_> = running.collect();
    fault(&progress).await;
    progress.ended.store(true, Ordering::SeqCst);
    join_all(running).await.into_iter().map(|client| client.expect("no client fails")).collect()
}

/// All checks; prints the sums, and wants no violation among them.
pub(crate) async fn conclude(title: &str, clients: &mut [Client]) -> Counts {
    for client in &mut *clients {
        client.check().await;
        client.check_tokens().await;
        client.check_replays().await;
    }
    let sum = |count: fn(&Counts) -> u64| clients.iter().map(|client| count(&client.counts)).sum::<u64>();
    let counts = Counts {
        acknowledged: sum(|counts| counts.acknowledged),
        cut_off: sum(|counts| counts.cut_off),
        checked: sum(|counts| counts.checked),
        violations: sum(|counts| counts.violations),
    };
    let Counts { acknowledged, cut_off, checked, violations } = counts;
    println!(
        "{title}: {acknowledged} operations acknowledged, {cut_off} cut off, {checked} facts checked, {violations} violated"
    );
    assert_eq!(violations, 0);
    assert!(checked > acknowledged / 10, "too little was checked to mean anything");
    counts
}

#[allow(dead_code, reason = "a vocabulary for tests, which need not use every word in each target")]
impl Client {
    fn new(number: usize, servers: &[Channel]) -> Self {
        let mut client = Self {
            subject: format!("subject-{number}"),
            servers: Vec::new(),
            known: Vec::new(),
            issued: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1),
            logins: 0,
            counts: Counts::default(),
        };
        client.reconnect(servers);
        client
    }

    pub(crate) fn reconnect(&mut self, servers: &[Channel]) {
        let server = |channel: &Channel| Server {
            tokens: TokenServiceClient::new(channel.clone()),
            sessions: SessionServiceClient::new(channel.clone()),
        };
        self.servers = servers.iter().map(server).collect();
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).expect("a small number")
    }

    fn server(&mut self) -> Server {
        let at = self.draw(self.servers.len());
        self.servers[at].clone()
    }

    fn live(&self) -> Vec<usize> {
        (0..self.known.len()).filter(|at| self.known[*at].end == End::Live).collect()
    }

    /// Mixed load until it is ended, whatever is cut off meanwhile.
    async fn load(&mut self, progress: &Progress) {
        while !progress.ended.load(Ordering::SeqCst) {
            let live = self.live();
            let cut_off = if live.len() < SESSIONS_A_CLIENT {
                self.login().await
            } else {
                let at = live[self.draw(live.len())];
                match self.draw(12) {
                    0 => self.revoke(at).await,
                    1 | 2 => self.repeat(at).await,
                    3 | 4 => self.race(at).await,
                    _ => self.refresh(at).await,
                }
            };
            match cut_off {
                Ok(()) => {
                    self.counts.acknowledged += 1;
                    progress.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                Err(status) => {
                    assert!(is_cut_off(&status), "{status:?}");
                    self.counts.cut_off += 1;
                    progress.cut_off.fetch_add(1, Ordering::SeqCst);
                    // As a client backs off.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    /// Opens so many sessions.
    pub(crate) async fn log_in(&mut self, sessions: usize) {
        for _ in 0..sessions {
            self.login().await.expect("logs in");
            self.counts.acknowledged += 1;
        }
    }

    /// Refreshes every other live session once, until that is acknowledged; how many there were.
    pub(crate) async fn refresh_half(&mut self) -> usize {
        let half: Vec<_> = self.live().into_iter().step_by(2).collect();
        for at in &half {
            while let Err(status) = self.refresh(*at).await {
                assert!(is_cut_off(&status), "{status:?}");
                self.counts.cut_off += 1;
            }
            self.counts.acknowledged += 1;
        }
        half.len()
    }

    /// Ends the live sessions that were not refreshed yet, and again those whose end is unknown.
    pub(crate) async fn end_the_others(&mut self) -> Vec<Result<(), Status>> {
        let others = |known: &Known| match known.end {
            End::Live => known.consumed.is_empty(),
            End::Unknown => true,
            End::Acknowledged(_) => false,
        };
        let others: Vec<_> = (0..self.known.len()).filter(|at| others(&self.known[*at])).collect();
        let mut answers = Vec::new();
        for at in others {
            let answer = self.revoke(at).await;
            self.counts.acknowledged += u64::from(answer.is_ok());
            self.counts.cut_off += u64::from(answer.is_err());
            answers.push(answer);
        }
        answers
    }

    /// What is known without the store, while it does not answer.
    pub(crate) async fn check_from_memory(&mut self) {
        for at in 0..self.known.len() {
            let expected = match self.known[at].end {
                End::Live => true,
                End::Acknowledged(_) => false,
                End::Unknown => continue,
            };
            for mut server in self.servers.clone() {
                let active = introspect(&mut server.tokens, &self.known[at].access, None).await;
                self.expect(active.is_ok_and(|active| active == expected), at, "introspection goes on");
            }
        }
    }

    async fn login(&mut self) -> Result<(), Status> {
        self.logins += 1;
        let device_id = format!("device-{}", self.logins);
        let request = v1::IssueTokenRequest {
            subject: self.subject.clone(),
            device: Some(v1::Device { device_id, ..Default::default() }),
            ..Default::default()
        };
        let mut server = self.server();
        let pair = server.tokens.issue_token(request).await?.into_inner().tokens.expect("tokens");
        let (id, access, refresh) = (pair.session_id, pair.access_token, pair.refresh_token);
        self.issued.push(access.clone());
        // Seen later if the store is gone by now.
        let request = v1::GetSessionRequest { session_id: id.clone(), ..Default::default() };
        let session = server.sessions.get_session(request).await.ok().and_then(|answer| answer.into_inner().session);
        let expires = session.and_then(|session| session.expire_time).map(|time| time.seconds);
        self.known.push(Known { id, access, refresh, consumed: Vec::new(), in_doubt: false, expires, end: End::Live });
        Ok(())
    }

    async fn refresh(&mut self, at: usize) -> Result<(), Status> {
        let mut server = self.server();
        let answer = present(&mut server.tokens, &self.known[at].refresh).await;
        self.take(at, answer)
    }

    fn take(&mut self, at: usize, answer: Result<v1::TokenPair, Status>) -> Result<(), Status> {
        let known = &mut self.known[at];
        known.in_doubt = answer.is_err();
        let pair = answer?;
        known.consumed.push(std::mem::replace(&mut known.refresh, pair.refresh_token));
        known.access = pair.access_token;
        self.issued.push(known.access.clone());
        Ok(())
    }

    /// Presents the newest token at several places at once.
    async fn race(&mut self, at: usize) -> Result<(), Status> {
        let mut servers: Vec<_> = (0..3).map(|_| self.server()).collect();
        let token = self.known[at].refresh.clone();
        let answers = join_all(servers.iter_mut().map(|server| present(&mut server.tokens, &token))).await;
        let pairs: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        let fork = pairs.iter().any(|pair| !same(pair, pairs[0]));
        self.expect(!fork, at, "one successor, whoever asks");
        let answer = answers.into_iter().reduce(Result::or).expect("three answers");
        self.take(at, answer)
    }

    /// Presents the token whose successor is the newest pair: the same is answered again.
    async fn repeat(&mut self, at: usize) -> Result<(), Status> {
        let (Some(token), false) = (self.known[at].consumed.last().cloned(), self.known[at].in_doubt) else {
            return self.refresh(at).await;
        };
        let mut server = self.server();
        let pair = present(&mut server.tokens, &token).await?;
        let known = &self.known[at];
        let good = pair.refresh_token == known.refresh && said(&pair.access_token) == said(&known.access);
        self.expect(good, at, "the same successor again");
        Ok(())
    }

    async fn revoke(&mut self, at: usize) -> Result<(), Status> {
        self.known[at].end = End::Unknown;
        let mut server = self.server();
        let request = v1::RevokeSessionRequest { session_id: self.known[at].id.clone(), ..Default::default() };
        let revision = server.sessions.revoke_session(request).await?.into_inner().revision;
        self.known[at].end = End::Acknowledged(revision);
        let access = self.known[at].access.clone();
        let active = introspect(&mut server.tokens, &access, None).await;
        self.expect(!active.is_ok_and(|active| active), at, "a revocation holds once it is answered");
        Ok(())
    }

    /// Compares what the servers say with what was acknowledged.
    pub(crate) async fn check(&mut self) {
        self.check_expiries().await;
        for at in 0..self.known.len() {
            let (mut server, access) = (self.server(), self.known[at].access.clone());
            let revision = match &self.known[at].end {
                End::Acknowledged(revision) => Some(revision.clone()),
                End::Live | End::Unknown => None,
            };
            let active = introspect(&mut server.tokens, &access, revision).await.expect("answers");
            let refresh = present(&mut server.tokens, &self.known[at].refresh.clone()).await;
            if let Err(status) = &refresh {
                assert!(!is_cut_off(status), "the fault is over: {status:?}");
            }
            let good = match &self.known[at].end {
                // A refresh that was cut off may have been committed: the same token is answered all the same.
                End::Live => active && refresh.is_ok(),
                End::Acknowledged(_) => !active && refresh.is_err(),
                End::Unknown => active == refresh.is_ok(),
            };
            self.expect(good, at, "an acknowledged fact");
            match refresh {
                Ok(_) => {
                    self.known[at].end = End::Live;
                    self.take(at, refresh).expect("a pair");
                }
                Err(_) if matches!(self.known[at].end, End::Acknowledged(_)) => {}
                Err(_) => self.known[at].end = End::Acknowledged(String::new()),
            }
        }
    }

    /// Only that revocations hold, where their revisions are known.
    pub(crate) async fn check_revocations(&mut self) {
        for at in 0..self.known.len() {
            let End::Acknowledged(revision) = self.known[at].end.clone() else { continue };
            for mut server in self.servers.clone() {
                let active = introspect(&mut server.tokens, &self.known[at].access, Some(revision.clone())).await;
                self.expect(active.is_ok_and(|active| !active), at, "a revocation that can be proven");
            }
        }
    }

    /// How many of the sessions that were ended are refused a refresh.
    pub(crate) async fn refused(&mut self) -> usize {
        let mut refused = 0;
        for at in 0..self.known.len() {
            if matches!(&self.known[at].end, End::Acknowledged(revision) if !revision.is_empty()) {
                let mut server = self.server();
                let answer = present(&mut server.tokens, &self.known[at].refresh).await;
                refused += usize::from(answer.is_err_and(|status| refusal(&status).1 == "SESSION_ENDED"));
            }
        }
        refused
    }

    async fn check_expiries(&mut self) {
        let mut server = self.server();
        let request = v1::ListSessionsRequest { subject: self.subject.clone(), page_size: 100, ..Default::default() };
        let sessions = server.sessions.list_sessions(request).await.expect("lists").into_inner().sessions;
        for session in sessions {
            let Some(at) = self.known.iter().position(|known| known.id == session.session_id) else { continue };
            let now = session.expire_time.map(|time| time.seconds);
            let moved = self.known[at].expires.is_some_and(|before| now.is_none_or(|now| now > before));
            self.known[at].expires = self.known[at].expires.or(now);
            self.expect(!moved, at, "the absolute expiry stays");
        }
    }

    /// Another library and the key set as it is served now.
    async fn check_tokens(&mut self) {
        let mut server = self.server();
        let keys = server.tokens.get_jwks(v1::GetJwksRequest::default()).await.expect("answers").into_inner();
        let keys: JwkSet = serde_json::from_slice(&keys.jwks_json).expect("a key set");
        let verifies = |token: &String| {
            let header = decode_header(token).ok()?;
            let key = DecodingKey::from_jwk(keys.find(header.kid.as_deref()?)?).ok()?;
            let mut validation = Validation::new(header.alg);
            validation.set_audience(&["default"]);
            decode::<serde_json::Value>(token, &key, &validation).ok()
        };
        let failed = self.issued.iter().filter(|token| verifies(token).is_none()).count() as u64;
        self.counts.checked += self.issued.len() as u64;
        self.counts.violations += failed;
        if failed > 0 {
            println!("violated: {failed} tokens of {} do not verify", self.subject);
        }
    }

    /// At the end: replay is still told from what a fault left behind, and ends its family alone.
    async fn check_replays(&mut self) {
        for at in self.live() {
            let known = &self.known[at];
            let [.., consumed, _] = known.consumed.as_slice() else { continue };
            let (consumed, access) = (consumed.clone(), known.access.clone());
            let mut server = self.server();
            let replayed = present(&mut server.tokens, &consumed).await;
            let refused = replayed.is_err_and(|status| refusal(&status).1 == "REFRESH_TOKEN_REPLAYED");
            let ended = !introspect(&mut server.tokens, &access, None).await.expect("answers");
            self.expect(refused && ended, at, "a replay");
            self.known[at].end = End::Acknowledged(String::new());
        }
    }

    fn expect(&mut self, good: bool, at: usize, what: &str) {
        self.counts.checked += 1;
        if !good {
            self.counts.violations += 1;
            println!("violated: {what}: {} session {at}, {:?}", self.subject, self.known[at].end);
        }
    }
}

/// The answer is missing, or says that the same may be sent again: nothing is known to have been decided.
pub(crate) fn is_cut_off(status: &Status) -> bool {
    use Code::{Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable, Unknown};
    matches!(status.code(), Unavailable | Unknown | Cancelled | DeadlineExceeded | ResourceExhausted)
}

fn same(one: &v1::TokenPair, other: &v1::TokenPair) -> bool {
    one.refresh_token == other.refresh_token && said(&one.access_token) == said(&other.access_token)
}

/// What a JWT says: some algorithms sign the same differently each time.
fn said(token: &str) -> Option<&str> {
    token.rsplit_once('.').map(|(said, _)| said)
}

async fn present(tokens: &mut TokenServiceClient<Channel>, token: &str) -> Result<v1::TokenPair, Status> {
    let request = v1::RefreshTokenRequest { refresh_token: token.to_owned(), ..Default::default() };
    Ok(tokens.refresh_token(request).await?.into_inner().tokens.expect("tokens"))
}

/// Whether it is active, as of a revision or of what the server knows.
async fn introspect(
    tokens: &mut TokenServiceClient<Channel>,
    token: &str,
    revision: Option<String>,
) -> Result<bool, Status> {
    let consistency = revision.filter(|revision| !revision.is_empty());
    let consistency =
        consistency.map(|revision| v1::Consistency { requirement: Some(Requirement::AtLeastAsFresh(revision)) });
    let request = v1::IntrospectTokenRequest { token: token.to_owned(), consistency, ..Default::default() };
    Ok(tokens.introspect_token(request).await?.into_inner().active)
}
