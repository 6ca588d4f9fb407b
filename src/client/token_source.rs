//! Keeps a session going: one access token for all who ask, refreshed ahead of its end while it is in
//! use. Attaching it to calls is `attach`'s.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::sleep;
use tonic::{Code, Request};
use tracing::warn;
use zeroize::Zeroizing;

use super::authority_channel::AuthorityChannel;
use super::backoff::Backoff;
use super::refresh::{Failure, SessionOver};
use super::revocation_entry::time;
use super::token_storage::{MemoryStorage, TokenStorage};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;
use crate::proto::v1::token_service_client::TokenServiceClient;
use crate::proto::v1::{RefreshTokenRequest, TokenPair};
use crate::tasks::Tasks;

/// Short beside the 10 s within which a realm gives a lost answer again: after one that is lost
/// without a word there must be time to ask.
const DEADLINE: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 5;

/// An access token. Shown to nobody by accident; cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<Zeroizing<String>>);

impl Token {
    /// The token, to be presented as `Authorization: Bearer …`.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why there is no access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// For good.
    #[error("{0}")]
    Over(#[from] SessionOver),
    /// The authority could not be reached or could not answer; ask again later.
    #[error("the session could not be refreshed just now: {0}")]
    Unavailable(Code),
}

/// Builds a [`TokenSource`].
#[derive(Debug)]
#[must_use]
pub struct TokenSourceBuilder {
    authority: TokenServiceClient<AuthorityChannel>,
    realm: String,
    client_id: String,
    storage: Arc<dyn TokenStorage>,
    backoff: Backoff,
    clock: Arc<dyn Clock>,
}

impl TokenSourceBuilder {
    /// For another realm than `default`.
    pub fn realm(self, realm: &str) -> Self {
        Self { realm: realm.to_owned(), ..self }
    }

    /// Has the authority check that the session is this client's.
    pub fn client_id(self, client_id: &str) -> Self {
        Self { client_id: client_id.to_owned(), ..self }
    }

    /// Keeps the refresh token there; in memory by default.
    pub fn storage(self, storage: impl TokenStorage) -> Self {
        Self { storage: Arc::new(storage), ..self }
    }

    /// How long to wait between attempts; and at least the longest pause between failed refreshes.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Another clock than the machine's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Continues from a login.
    pub async fn start(self, tokens: TokenPair) -> io::Result<TokenSource> {
        let (storage, saved) = (self.storage.clone(), Zeroizing::new(tokens.refresh_token.clone()));
        spawn_blocking(move || storage.save(&saved)).await.unwrap_or_else(ended_early)?;
        Ok(self.source(State::of(tokens)))
    }

    /// Continues from what the storage holds; `None` if that is nothing.
    pub async fn resume(self) -> io::Result<Option<TokenSource>> {
        let storage = self.storage.clone();
        let saved = spawn_blocking(move || storage.load()).await.unwrap_or_else(ended_early)?;
        Ok(saved.map(|refresh_token| self.source(State { refresh_token, ..State::default() })))
    }

    fn source(self, state: State) -> TokenSource {
        TokenSource(Arc::new(Shared {
            authority: self.authority,
            realm: self.realm,
            client_id: self.client_id,
            storage: self.storage,
            backoff: self.backoff,
            clock: self.clock,
            state: Mutex::new(state),
            over: watch::Sender::new(None),
            tasks: Tasks::default(),
        }))
    }
}

type Outcome = Result<Token, NoToken>;

#[derive(Default)]
struct State {
    token: Option<Token>,
    expires: Timestamp,
    refresh_after: Timestamp,
    refresh_token: Zeroizing<String>,
    /// The refresh in flight: all wait for the same.
    refreshing: Option<watch::Receiver<Option<Outcome>>>,
    /// The last one, where it failed: not tried again before this time.
    failed: Option<(Timestamp, Code)>,
    /// When the token came by a refresh.
    obtained: Option<Timestamp>,
}

impl State {
    fn of(tokens: TokenPair) -> Self {
        let expires = tokens.access_expire_time.map(time).unwrap_or_default();
        Self {
            token: Some(Token(Arc::new(Zeroizing::new(tokens.access_token)))),
            expires,
            refresh_after: tokens.refresh_after_time.map_or(expires, time),
            refresh_token: Zeroizing::new(tokens.refresh_token),
            ..Self::default()
        }
    }

    fn valid(&self, now: Timestamp) -> Option<Token> {
        self.token.clone().filter(|_| now < self.expires)
    }
}

struct Shared {
    authority: TokenServiceClient<AuthorityChannel>,
    realm: String,
    client_id: String,
    storage: Arc<dyn TokenStorage>,
    backoff: Backoff,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    over: watch::Sender<Option<SessionOver>>,
    tasks: Tasks,
}

/// One session's tokens. Cheap to clone; clones share them.
///
/// Nothing runs while nobody asks: a session that is not used may end as idle.
#[derive(Clone)]
pub struct TokenSource(Arc<Shared>);

impl TokenSource {
    /// Refreshes at this authority.
    pub fn builder(authority: impl Into<AuthorityChannel>) -> TokenSourceBuilder {
        TokenSourceBuilder {
            authority: TokenServiceClient::new(authority.into()),
            realm: String::new(),
            client_id: String::new(),
            storage: Arc::new(MemoryStorage::default()),
            backoff: Backoff::default(),
            clock: Arc::new(SystemClock::default()),
        }
    }

    /// A valid access token: at once while there is one, though it may be time for the next, which is
    /// then fetched meanwhile.
    pub async fn token(&self) -> Result<Token, NoToken> {
        let now = self.0.clock.now();
        let refreshing = {
            let mut state = self.state();
            self.alive()?;
            let valid = state.valid(now);
            if valid.is_none() || now >= state.refresh_after {
                self.refresh(&mut state, now);
            }
            match valid {
                Some(token) => return Ok(token),
                None => pending(&state)?,
            }
        };
        outcome(refreshing).await
    }

    /// Another token than the one that a service has just refused. A fresh one is not replaced: what
    /// is refused again is not the token's fault, and must not cause a refresh a call.
    pub(super) async fn renewed(&self, refused: &Token) -> Result<Token, NoToken> {
        let now = self.0.clock.now();
        let refreshing = {
            let mut state = self.state();
            self.alive()?;
            match state.valid(now) {
                Some(token) if token != *refused => return Ok(token),
                Some(_) if state.obtained.is_some_and(|at| now.since(at) < self.0.backoff.longest()) => {
                    return Err(NoToken::Unavailable(Code::Unauthenticated));
                }
                _ => self.refresh(&mut state, now),
            }
            pending(&state)?
        };
        outcome(refreshing).await
    }

    /// Tells when the session is over, and why. From then on no call is made.
    pub fn over(&self) -> watch::Receiver<Option<SessionOver>> {
        self.0.over.subscribe()
    }

    /// Waits until a refresh in flight is done and stored. Before a process ends.
    pub async fn finished(&self) {
        self.0.tasks.finished().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves at worst an older state, with which the authority knows what to do.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> Result<(), SessionOver> {
        self.0.over.borrow().map_or(Ok(()), Err)
    }

    /// Starts a refresh, unless one is in flight or has failed just now. It runs to its end whoever
    /// stops waiting: its answer may be the only copy of the next refresh token.
    fn refresh(&self, state: &mut State, now: Timestamp) {
        // A refresh that panicked has dropped its sender.
        let in_flight = state.refreshing.as_ref().is_some_and(|refreshing| refreshing.has_changed().is_ok());
        if in_flight || state.failed.is_some_and(|(until, _)| now < until) {
            return;
        }
        let (done, refreshing) = watch::channel(None);
        state.refreshing = Some(refreshing);
        let (source, refresh_token) = (self.clone(), state.refresh_token.clone());
        self.0.tasks.spawn(async move {
            let outcome = source.try_until_told(&refresh_token).await;
            let outcome = source.take(outcome).await;
            // Nobody may wait.
            let _ = done.send(Some(outcome));
        });
    }

    /// Sends the same token until the authority has said something, at most a few times.
    async fn try_until_told(&self, refresh_token: &str) -> Result<TokenPair, NoToken> {
        let mut failures = 0;
        loop {
            let mut request = Request::new(RefreshTokenRequest {
                realm: self.0.realm.clone(),
                refresh_token: refresh_token.to_owned(),
                client_id: self.0.client_id.clone(),
                ..RefreshTokenRequest::default()
            });
            request.set_timeout(DEADLINE);
            let status = match self.0.authority.clone().refresh_token(request).await {
                Ok(answer) => match answer.into_inner().tokens {
                    Some(tokens) => return Ok(tokens),
                    None => return Err(NoToken::Unavailable(Code::Internal)),
                },
                Err(status) => status,
            };
            match Failure::of(&status) {
                Failure::Over(over) => return Err(over.into()),
                Failure::Again { code, .. } if failures + 1 == ATTEMPTS => return Err(NoToken::Unavailable(code)),
                Failure::Again { not_before, .. } => {
                    let pause = self.0.backoff.pause(failures);
                    sleep(not_before.map_or(pause, |least| least.max(pause).min(self.0.backoff.longest()))).await;
                    failures += 1;
                }
            }
        }
    }

    /// Takes in what a refresh brought. The next refresh token is stored before its access token is
    /// given out.
    async fn take(&self, outcome: Result<TokenPair, NoToken>) -> Outcome {
        let (storage, next) =
            (self.0.storage.clone(), outcome.as_ref().ok().map(|tokens| tokens.refresh_token.clone()));
        let next = next.map(Zeroizing::new);
        let over = matches!(outcome, Err(NoToken::Over(_)));
        let stored = spawn_blocking(move || match next {
            Some(next) => storage.save(&next),
            None if over => storage.clear(),
            None => Ok(()),
        });
        if let Err(error) = stored.await.unwrap_or_else(ended_early) {
            warn!(%error, "the refresh token can't be stored: a restart would need a new login");
        }
        let now = self.0.clock.now();
        let mut state = self.state();
        state.refreshing = None;
        match outcome {
            Ok(tokens) => {
                *state = State { obtained: Some(now), ..State::of(tokens) };
                state.valid(now).ok_or(NoToken::Unavailable(Code::DeadlineExceeded))
            }
            Err(NoToken::Unavailable(code)) => {
                warn!(%code, "the session could not be refreshed; it is tried again later");
                state.failed = Some((now + self.0.backoff.longest(), code));
                Err(NoToken::Unavailable(code))
            }
            Err(NoToken::Over(over)) => {
                *state = State::default();
                self.0.over.send_replace(Some(over));
                Err(over.into())
            }
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource(..)")
    }
}

/// The refresh to wait for; the last one's failure if none was started.
fn pending(state: &State) -> Result<watch::Receiver<Option<Outcome>>, NoToken> {
    let code = state.failed.map_or(Code::Unavailable, |(_, code)| code);
    state.refreshing.clone().ok_or(NoToken::Unavailable(code))
}

async fn outcome(mut refreshing: watch::Receiver<Option<Outcome>>) -> Outcome {
    match refreshing.wait_for(Option::is_some).await {
        Ok(done) => done.clone().unwrap_or(Err(NoToken::Unavailable(Code::Internal))),
        Err(_) => Err(NoToken::Unavailable(Code::Internal)),
    }
}

/// Not in the task's own words: what it panicked with may be the token.
fn ended_early<T>(_: JoinError) -> io::Result<T> {
    Err(io::Error::other("the token's storage panicked"))
}
