//! Keeps a realm's keys as the authority publishes them. What was good stays while it is away; an
//! unknown `kid` has the set read again, one reader at a time and at a bounded rate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;
use tonic::codegen::BoxFuture;
use tonic::{Code, Request, Status};
use tracing::warn;

use super::authority_channel::AuthorityChannel;
use super::backoff::Backoff;
use crate::clock::Clock;
use crate::domain::ids::RealmName;
use crate::domain::time::Timestamp;
use crate::proto::v1::token_service_client::TokenServiceClient;
use crate::proto::v1::{GetJwksRequest, WatchJwksRequest};
use crate::verify::keys::{KeySet, PublicKey, VerifyKey};

/// What the authority says that a key set may be cached for.
const MAX_AGE: Duration = Duration::from_secs(300);
const DEADLINE: Duration = Duration::from_secs(5);

/// Why a key set could not be read: for logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key set could not be read: {0}")]
pub struct NotFetched(pub String);

/// Reads a JSON Web Key Set from wherever it is (RFC 7517, section 5).
pub trait FetchKeys: Send + Sync + fmt::Debug {
    /// The set as it is published now. Bounded in time.
    fn fetch(&self) -> BoxFuture<Vec<u8>, NotFetched>;
}

/// Where the keys come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Told by the authority at each change.
    Watch(TokenServiceClient<AuthorityChannel>),
    /// Read again and again.
    Fetch(Box<dyn FetchKeys>),
}

impl Source {
    async fn read(&self, realm: &RealmName) -> Result<Vec<u8>, NotFetched> {
        match self {
            Self::Fetch(from) => from.fetch().await,
            Self::Watch(authority) => {
                let mut request = Request::new(GetJwksRequest { realm: realm.to_string() });
                request.set_timeout(DEADLINE);
                let answer = authority.clone().get_jwks(request).await;
                Ok(answer.map_err(|status| NotFetched(status.to_string()))?.into_inner().jwks_json)
            }
        }
    }
}

#[derive(Debug, Default)]
struct LastRead {
    at: Option<Timestamp>,
    failed: bool,
}

/// A realm's keys, kept up to date.
#[derive(Debug)]
pub(super) struct Keys {
    realm: RealmName,
    set: Arc<KeySet>,
    source: Source,
    clock: Arc<dyn Clock>,
    /// How often unknown keys may cause a read: whoever invents a `kid` must not flood the authority.
    reread_every: Duration,
    /// Held while reading, so that one reads for all.
    last: Mutex<LastRead>,
    loaded: watch::Sender<bool>,
}

impl Keys {
    pub(super) fn new(
        realm: RealmName,
        set: Arc<KeySet>,
        source: Source,
        clock: Arc<dyn Clock>,
        reread_every: Duration,
    ) -> Self {
        let (last, loaded) = (Mutex::default(), watch::Sender::new(false));
        Self { realm, set, source, clock, reread_every, last, loaded }
    }

    /// Waits until a set was read once.
    pub(super) async fn loaded(&self) {
        // Can't fail while `self` holds the sender.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// Reads the set again for a key that is not in it, unless that was done just now.
    pub(super) async fn reread(&self) -> Result<(), NotFetched> {
        let mut last = self.last.lock().await;
        if last.at.is_none_or(|at| self.clock.now().since(at) >= self.reread_every) {
            self.read(&mut last).await?;
        } else if last.failed {
            return Err(NotFetched("it could not be read just now".to_owned()));
        }
        Ok(())
    }

    /// Follows the source for ever.
    pub(super) async fn follow(&self) {
        let mut failures = 0;
        loop {
            let pause = match self.follow_once(&mut failures).await {
                Ok(()) => MAX_AGE,
                Err(error) => {
                    warn!(realm = %self.realm, %error, "the keys so far stay in use");
                    failures += 1;
                    Backoff::default().pause(failures - 1)
                }
            };
            sleep(pause).await;
        }
    }

    /// Until the next read is due, or something failed.
    async fn follow_once(&self, failures: &mut u32) -> Result<(), NotFetched> {
        if let Source::Watch(authority) = &self.source {
            match self.watch(authority.clone(), failures).await {
                // An authority of an earlier version: read as over HTTP.
                Err(status) if status.code() == Code::Unimplemented => {}
                ended => return ended.map_err(|status| NotFetched(status.to_string())),
            }
        }
        self.read(&mut *self.last.lock().await).await?;
        *failures = 0;
        Ok(())
    }

    async fn watch(
        &self,
        mut authority: TokenServiceClient<AuthorityChannel>,
        failures: &mut u32,
    ) -> Result<(), Status> {
        let request = WatchJwksRequest { realm: self.realm.to_string() };
        let mut sets = authority.watch_jwks(request).await?.into_inner();
        while let Some(set) = sets.message().await? {
            self.replace(&set.jwks_json).map_err(|NotFetched(problem)| Status::data_loss(problem))?;
            *failures = 0;
        }
        Err(Status::unavailable("the stream ended"))
    }

    async fn read(&self, last: &mut LastRead) -> Result<(), NotFetched> {
        // Before the answer: a caller that gives up must not open the way for the next one.
        *last = LastRead { at: Some(self.clock.now()), failed: true };
        self.replace(&self.source.read(&self.realm).await?)?;
        last.failed = false;
        Ok(())
    }

    /// Makes the set what is published. A key of an unknown kind is left out (RFC 7517, section 5);
    /// what is no set changes nothing.
    fn replace(&self, jwks: &[u8]) -> Result<(), NotFetched> {
        #[derive(serde::Deserialize)]
        struct Jwks {
            keys: Vec<Map<String, Value>>,
        }
        let Jwks { keys } = serde_json::from_slice(jwks).map_err(|error| NotFetched(error.to_string()))?;
        let key = |jwk| VerifyKey::new(self.realm.clone(), PublicKey::from_jwk(jwk).ok()?).ok();
        let published: Vec<_> = keys.iter().filter_map(key).collect();
        for known in self.set.of_realm(&self.realm) {
            if published.iter().all(|key| key.kid() != known.kid()) {
                self.set.remove(known.kid());
            }
        }
        for key in published {
            if let Err(conflict) = self.set.install(key) {
                warn!(%conflict, "a published key is not used");
            }
        }
        self.loaded.send_replace(true);
        Ok(())
    }
}
