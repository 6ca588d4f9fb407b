//! `kill -9` under mixed load, again and again on one store: every acknowledged fact is there
//! afterwards, and a call whose answer was cut off can be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use token_authority::proto::v1;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::server_process::ServerProcess;
use crate::test_server::refusal;

const KILLS: usize = 10;
const CLIENTS: usize = 8;
const SESSIONS_A_CLIENT: usize = 6;
/// Acknowledged changes between two kills.
const LOAD: u64 = 150;

/// What one client knows of one of its sessions.
struct Known {
    id: String,
    /// The newest pair that was acknowledged.
    access: String,
    refresh: String,
    /// Consumed refresh tokens, oldest first.
    consumed: Vec<String>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Live,
    Acknowledged,
    /// The answer to its revocation was cut off.
    Unknown,
}

/// A client with its own subject, so that it knows all that happens to its sessions.
struct Client {
    subject: String,
    tokens: TokenServiceClient<Channel>,
    sessions: SessionServiceClient<Channel>,
    known: Vec<Known>,
    random: u64,
    logins: u64,
    counts: Counts,
}

#[derive(Default, Clone, Copy, Debug)]
struct Counts {
    acknowledged: u64,
    cut_off: u64,
    checked: u64,
    violations: u64,
}

impl Client {
    fn new(number: usize, channel: &Channel) -> Self {
        Self {
            subject: format!("subject-{number}"),
            tokens: TokenServiceClient::new(channel.clone()),
            sessions: SessionServiceClient::new(channel.clone()),
            known: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1),
            logins: 0,
            counts: Counts::default(),
        }
    }

    fn reconnect(&mut self, channel: &Channel) {
        self.tokens = TokenServiceClient::new(channel.clone());
        self.sessions = SessionServiceClient::new(channel.clone());
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).expect("a small number")
    }

    /// Mixed load until the server is gone.
    async fn load(&mut self, acknowledged: &AtomicU64) {
        loop {
            let live: Vec<_> = (0..self.known.len()).filter(|at| self.known[*at].end == End::Live).collect();
            let cut_off = if live.len() < SESSIONS_A_CLIENT {
                self.login().await
            } else {
                let at = live[self.draw(live.len())];
                if self.draw(8) == 0 { self.revoke(at).await } else { self.refresh(at).await }
            };
            if let Err(status) = cut_off {
                assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status:?}");
                self.counts.cut_off += 1;
                return;
            }
            self.counts.acknowledged += 1;
            acknowledged.fetch_add(1, Ordering::Relaxed);
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
        let pair = self.tokens.issue_token(request).await?.into_inner().tokens.expect("tokens");
        let (id, access, refresh) = (pair.session_id, pair.access_token, pair.refresh_token);
        self.known.push(Known { id, access, refresh, consumed: Vec::new(), end: End::Live });
        Ok(())
    }

    async fn refresh(&mut self, at: usize) -> Result<(), Status> {
        let pair = present(&mut self.tokens, &self.known[at].refresh).await?;
        let known = &mut self.known[at];
        known.consumed.push(std::mem::replace(&mut known.refresh, pair.refresh_token));
        known.access = pair.access_token;
        Ok(())
    }

    async fn revoke(&mut self, at: usize) -> Result<(), Status> {
        self.known[at].end = End::Unknown;
        let request = v1::RevokeSessionRequest { session_id: self.known[at].id.clone(), ..Default::default() };
        self.sessions.revoke_session(request).await?;
        self.known[at].end = End::Acknowledged;
        Ok(())
    }

    /// Compares what the restarted server says with what was acknowledged.
    async fn check(&mut self) {
        for at in 0..self.known.len() {
            let active = self.introspect(&self.known[at].access.clone()).await;
            let refresh = present(&mut self.tokens, &self.known[at].refresh.clone()).await;
            let good = match self.known[at].end {
                // A refresh that was cut off may have been committed: the same token is answered all the same.
                End::Live => active && refresh.is_ok(),
                End::Acknowledged => !active && refresh.is_err(),
                End::Unknown => active == refresh.is_ok(),
            };
            self.expect(good, at, "an acknowledged fact");
            let known = &mut self.known[at];
            match refresh {
                Ok(pair) => {
                    known.consumed.push(std::mem::replace(&mut known.refresh, pair.refresh_token));
                    known.access = pair.access_token;
                    known.end = End::Live;
                }
                Err(_) => known.end = End::Acknowledged,
            }
        }
    }

    /// At the end: replay is still told from what a crash left behind, and ends its family alone.
    async fn check_replays(&mut self) {
        let live: Vec<_> = (0..self.known.len()).filter(|at| self.known[*at].end == End::Live).collect();
        for at in live {
            let known = &self.known[at];
            let [.., consumed, _] = known.consumed.as_slice() else { continue };
            let (consumed, access) = (consumed.clone(), known.access.clone());
            let replayed = present(&mut self.tokens, &consumed).await;
            let refused = replayed.is_err_and(|status| refusal(&status).1 == "REFRESH_TOKEN_REPLAYED");
            let ended = !self.introspect(&access).await;
            self.expect(refused && ended, at, "a replay");
        }
    }

    fn expect(&mut self, good: bool, at: usize, what: &str) {
        self.counts.checked += 1;
        if !good {
            self.counts.violations += 1;
            println!("violated: {what}: {} session {at}, {:?}", self.subject, self.known[at].end);
        }
    }

    async fn introspect(&mut self, token: &str) -> bool {
        let request = v1::IntrospectTokenRequest { token: token.to_owned(), ..Default::default() };
        self.tokens.introspect_token(request).await.expect("answers").into_inner().active
    }
}

async fn present(tokens: &mut TokenServiceClient<Channel>, token: &str) -> Result<v1::TokenPair, Status> {
    let request = v1::RefreshTokenRequest { refresh_token: token.to_owned(), ..Default::default() };
    Ok(tokens.refresh_token(request).await?.into_inner().tokens.expect("tokens"))
}

async fn connect(server: &ServerProcess) -> Channel {
    Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects")
}

/// The server is killed once enough was acknowledged, in the middle of whatever is under way.
async fn load_and_kill(clients: Vec<Client>, mut server: ServerProcess) -> Vec<Client> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let running: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let acknowledged = acknowledged.clone();
            tokio::task::spawn(async move {
                client.load(&acknowledged).await;
                client
            })
        })
        .collect();
    while acknowledged.load(Ordering::Relaxed) < LOAD {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill9();
    let mut clients = Vec::new();
    for client in running {
        clients.push(client.await.expect("no client fails"));
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let directory = TempDir::new().expect("a directory");
    let config = directory.path().join("config.toml");
    // A restart on a loaded machine may take longer than the default leeway.
    std::fs::write(&config, "[realm]\nname = \"default\"\nreuse_leeway = \"60s\"\n").expect("writes");
    let start = || ServerProcess::start_in(directory.path(), &["--config", config.to_str().expect("a path")]);

    let mut server = start();
    let channel = connect(&server).await;
    let mut clients: Vec<_> = (0..CLIENTS).map(|number| Client::new(number, &channel)).collect();
    for _ in 0..KILLS {
        clients = load_and_kill(clients, server).await;
        server = start();
        let channel = connect(&server).await;
        for client in &mut clients {
            client.reconnect(&channel);
            client.check().await;
        }
    }
    for client in &mut clients {
        client.check_replays().await;
    }
    let sum = |count: fn(&Counts) -> u64| clients.iter().map(|client| count(&client.counts)).sum::<u64>();
    let (acknowledged, checked, violations) = (sum(|c| c.acknowledged), sum(|c| c.checked), sum(|c| c.violations));
    println!(
        "{KILLS} kills: {acknowledged} operations acknowledged, {} cut off, {checked} facts checked, {violations} violated",
        sum(|c| c.cut_off),
    );
    assert_eq!(violations, 0);
    assert!(acknowledged >= LOAD * KILLS as u64 && checked > acknowledged / 10, "too little was done to mean anything");
}
