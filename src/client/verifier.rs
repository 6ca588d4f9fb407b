//! Decides who bears a token: by `verify` in memory, and by asking the authority where memory can't
//! say. Knows no transport; `protect` puts it in front of a service.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::{Code, Request};
use tracing::debug;

use super::authority_channel::AuthorityChannel;
use super::backoff::Backoff;
use super::identity::Identity;
use super::jwks_http::HttpJwks;
use super::keys::{FetchKeys, Keys, Source};
use super::rejection::{NotAuthenticated, Outage, Rejection};
use super::revocations::Revocations;
use crate::clock::{Clock, SystemClock};
use crate::domain::ids::{Audience, InvalidName, RealmName, SubscriberName};
use crate::proto::v1::IntrospectTokenRequest;
use crate::proto::v1::token_service_client::TokenServiceClient;
use crate::verify;
use crate::verify::keys::{Issuers, KeySet};
use crate::verify::revocations::RevocationIndex;
use crate::verify::{Leeway, VerifiedToken};

/// Where the audience is no name for a subscriber.
const UNNAMED: &str = "verifier";
const CACHE_BYTES: usize = 16 * 1024 * 1024;
const MAX_STALENESS: Duration = Duration::from_secs(10);
const REREAD_KEYS_EVERY: Duration = Duration::from_secs(30);
const INTROSPECTION_DEADLINE: Duration = Duration::from_secs(3);
const INTROSPECTIONS: u32 = 3;
/// Short: a request waits meanwhile.
const INTROSPECT_AGAIN: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));

/// What to do with a token that is valid but for revocations after too long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenStale {
    /// Ask the authority about each token; refuse if it does not answer.
    Introspect,
    /// Refuse, as unavailable.
    Refuse,
    /// Accept: a revocation then holds here once the feed is back, or when the token expires.
    Accept,
}

/// Builds a [`Verifier`].
#[derive(Debug)]
#[must_use]
pub struct VerifierBuilder {
    authority: TokenServiceClient<AuthorityChannel>,
    issuer: String,
    audience: String,
    realm: String,
    name: Option<String>,
    fetch: Option<Box<dyn FetchKeys>>,
    reread_keys_every: Duration,
    max_staleness: Duration,
    when_stale: WhenStale,
    leeway: Leeway,
    cache_bytes: usize,
    clock: Arc<dyn Clock>,
}

impl VerifierBuilder {
    /// For another realm than `default`.
    pub fn realm(self, realm: &str) -> Self {
        Self { realm: realm.to_owned(), ..self }
    }

    /// What operators of the authority are told if this verifier lags behind the revocations, such as the
    /// service and its host; by default the audience. Printable ASCII, at most 128 bytes.
    pub fn name(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Reads the key set over HTTP instead of the channel.
    pub fn jwks_url(self, url: Uri) -> Self {
        self.fetch_keys(HttpJwks::new(url))
    }

    /// Reads the key set by other means instead of the channel, such as HTTPS.
    pub fn fetch_keys(self, fetch: impl FetchKeys + 'static) -> Self {
        Self { fetch: Some(Box::new(fetch)), ..self }
    }

    /// How often an unknown key may cause the set to be read again; 30 s by default.
    pub fn reread_keys_every(self, least: Duration) -> Self {
        Self { reread_keys_every: least, ..self }
    }

    /// How far behind revocations may be, and what to do beyond; by default 10 s, then introspection.
    pub fn max_staleness(self, most: Duration, when_stale: WhenStale) -> Self {
        Self { max_staleness: most, when_stale, ..self }
    }

    /// How far this clock and the authority's may disagree about `exp`; nothing by default.
    pub fn leeway(self, leeway: Leeway) -> Self {
        Self { leeway, ..self }
    }

    /// About how much memory verified tokens may take; 16 MiB by default, 0 for none.
    pub fn cache_bytes(self, bytes: usize) -> Self {
        Self { cache_bytes: bytes, ..self }
    }

    /// Another clock than the machine's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Starts following keys and revocations; they end with the last clone of the verifier. Call it
    /// inside a Tokio runtime. Fails for a realm, audience or name that is none.
    pub fn build(self) -> Result<Verifier, InvalidName> {
        let realm = RealmName::parse(&self.realm)?;
        let audience = Audience::parse(&self.audience)?;
        let name = match &self.name {
            Some(name) => SubscriberName::parse(name)?,
            None => SubscriberName::parse(audience.as_str()).or_else(|_| SubscriberName::parse(UNNAMED))?,
        };
        // The feed counts its messages and knows no partitions: how far it is stands with it.
        let (set, issuers, index) =
            (Arc::new(KeySet::default()), Arc::new(Issuers::default()), RevocationIndex::new(0));
        let index = Arc::new(index);
        issuers.set(realm.clone(), [self.issuer], Arc::default());
        let source = self.fetch.map_or_else(|| Source::Watch(self.authority.clone()), Source::Fetch);
        let keys = Keys::new(realm.clone(), set.clone(), source, self.clock.clone(), self.reread_keys_every);
        let keys = Arc::new(keys);
        let authority = self.authority.clone();
        let revocations = Revocations::new(realm.clone(), name, authority, index.clone(), self.clock.clone());
        let revocations = Arc::new(revocations);
        let mut feeds = JoinSet::new();
        feeds.spawn({
            let keys = keys.clone();
            async move { keys.follow().await }
        });
        feeds.spawn({
            let revocations = revocations.clone();
            async move { revocations.follow().await }
        });
        Ok(Verifier(Arc::new(Shared {
            local: verify::Verifier::new(set, issuers, index, self.cache_bytes).with_leeway(self.leeway),
            realm,
            audience,
            keys,
            revocations,
            authority: self.authority,
            max_staleness: self.max_staleness,
            when_stale: self.when_stale,
            clock: self.clock,
            _feeds: feeds,
        })))
    }
}

#[derive(Debug)]
struct Shared {
    local: verify::Verifier,
    realm: RealmName,
    audience: Audience,
    keys: Arc<Keys>,
    revocations: Arc<Revocations>,
    authority: TokenServiceClient<AuthorityChannel>,
    max_staleness: Duration,
    when_stale: WhenStale,
    clock: Arc<dyn Clock>,
    /// Ended when this is dropped.
    _feeds: JoinSet<()>,
}

/// What memory says of a token.
enum Known {
    Good(Arc<VerifiedToken>),
    Bad(Rejection),
    /// A key that is not in the set, or not yet.
    UnknownKey,
    /// Good, unless it was revoked too lately to be known.
    Unsure(Arc<VerifiedToken>),
}

/// Checks access tokens for one service. Cheap to clone; clones share keys, revocations and cache.
#[derive(Debug, Clone)]
pub struct Verifier(Arc<Shared>);

impl Verifier {
    /// Accepts tokens of this issuer, byte for byte, that are for this audience.
    pub fn builder(authority: impl Into<AuthorityChannel>, issuer: &str, audience: &str) -> VerifierBuilder {
        VerifierBuilder {
            authority: TokenServiceClient::new(authority.into()),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            realm: "default".to_owned(),
            name: None,
            fetch: None,
            reread_keys_every: REREAD_KEYS_EVERY,
            max_staleness: MAX_STALENESS,
            when_stale: WhenStale::Introspect,
            leeway: Leeway::ZERO,
            cache_bytes: CACHE_BYTES,
            clock: Arc::new(SystemClock::default()),
        }
    }

    /// Waits until keys and revocations have been read once. Bound it with a timeout; a service may
    /// also start before that, and refuses as unavailable what it can't decide.
    pub async fn ready(&self) {
        self.0.keys.loaded().await;
        self.0.revocations.complete().await;
    }

    /// Who bears the token.
    pub async fn verify(&self, token: &str) -> Result<Identity, Rejection> {
        let mut known = self.known(token);
        if let Known::UnknownKey = known {
            if let Err(error) = self.0.keys.reread().await {
                debug!(realm = %self.0.realm, %error, "a token of an unknown key can't be decided");
                return Err(Rejection::Unavailable(Outage::Keys));
            }
            known = self.known(token);
        }
        match known {
            Known::Unsure(seen) => self.introspect(token, seen).await,
            Known::UnknownKey => Err(rejected(verify::Rejection::UnknownKey)),
            Known::Good(seen) => Ok(Identity::new(seen)),
            Known::Bad(rejection) => Err(rejection),
        }
    }

    /// Who bears the token, by memory alone; `None` if the authority would have to be asked.
    pub fn verify_known(&self, token: &str) -> Option<Result<Identity, Rejection>> {
        match self.known(token) {
            Known::Good(seen) => Some(Ok(Identity::new(seen))),
            Known::Bad(rejection) => Some(Err(rejection)),
            Known::UnknownKey | Known::Unsure(_) => None,
        }
    }

    fn known(&self, token: &str) -> Known {
        let shared = &*self.0;
        let now = shared.clock.now();
        let seen = match shared.local.verify(&shared.realm, token, now) {
            Ok(seen) => seen,
            Err(verify::Rejection::UnknownKey) => return Known::UnknownKey,
            Err(rejection) => return Known::Bad(rejected(rejection)),
        };
        if !seen.audience.contains(&shared.audience) {
            return Known::Bad(Rejection::NotAuthenticated(NotAuthenticated::WrongAudience));
        }
        if seen.confirmation.is_some() {
            return Known::Bad(Rejection::NotAuthenticated(NotAuthenticated::BoundToKey));
        }
        if shared.revocations.staleness(now) <= shared.max_staleness {
            return Known::Good(seen);
        }
        match shared.when_stale {
            WhenStale::Introspect => Known::Unsure(seen),
            WhenStale::Refuse => Known::Bad(Rejection::Unavailable(Outage::Revocations)),
            WhenStale::Accept => Known::Good(seen),
        }
    }

    /// Repeated while the authority is away: of several addresses, another may answer.
    async fn introspect(&self, token: &str, seen: Arc<VerifiedToken>) -> Result<Identity, Rejection> {
        let mut failures = 0;
        loop {
            let mut request = Request::new(IntrospectTokenRequest {
                realm: self.0.realm.to_string(),
                token: token.to_owned(),
                ..IntrospectTokenRequest::default()
            });
            request.set_timeout(INTROSPECTION_DEADLINE);
            match self.0.authority.clone().introspect_token(request).await {
                Ok(answer) if answer.get_ref().active => return Ok(Identity::new(seen)),
                Ok(_) => return Err(Rejection::NotAuthenticated(NotAuthenticated::NotActive)),
                Err(status) if status.code() == Code::Unavailable && failures + 1 < INTROSPECTIONS => {
                    sleep(INTROSPECT_AGAIN.pause(failures)).await;
                    failures += 1;
                }
                Err(status) => {
                    debug!(realm = %self.0.realm, %status, "a token can't be introspected");
                    return Err(Rejection::Unavailable(Outage::Introspection));
                }
            }
        }
    }
}

fn rejected(rejection: verify::Rejection) -> Rejection {
    Rejection::NotAuthenticated(NotAuthenticated::Token(rejection))
}
