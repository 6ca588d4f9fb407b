//! Decides who bears a token: by `verify` in memory, and by asking the authority where memory can't
//! say. Knows no transport; `protect` puts it in front of a service.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::task::JoinSet;
use tracing::debug;

use super::authority_channel::AuthorityChannel;
use super::identity::Identity;
use super::introspection::Introspection;
use super::jwks_http::HttpJwks;
use super::keys::{FetchKeys, Keys, Source};
use super::rejection::{NotAuthenticated, Outage, Rejection};
use super::revocations::Revocations;
use crate::clock::{Clock, SystemClock};
use crate::domain::ids::{Audience, InvalidName, RealmName, SubscriberName};
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
    checks: Checks,
}

/// Where tokens are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checks {
    Here,
    AtTheAuthority,
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

    /// Reads the key set over HTTP instead of the channel; see [`HttpJwks::new`].
    pub fn jwks_url(self, url: Uri) -> Self {
        self.fetch_keys(HttpJwks::new(url))
    }

    /// Reads the key set by other means instead of the channel, such as over HTTPS from a server that only a
    /// company's own authority vouches for (`HttpJwks::trusting`).
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

    /// Asks the authority about each token, and keeps nothing: for a realm whose key is secret (HS256), or
    /// whose tokens leave out registered claims. None of the other settings but the realm matters then.
    pub fn introspect_each(self) -> Self {
        Self { checks: Checks::AtTheAuthority, ..self }
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
        let introspection = Introspection { authority: self.authority.clone(), realm: realm.clone() };
        if self.checks == Checks::AtTheAuthority {
            return Ok(Verifier(Arc::new(Shared { introspection, audience, by: By::Asking { issuer: self.issuer } })));
        }
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
        let local = Local {
            verifier: verify::Verifier::new(set, issuers, index, self.cache_bytes).with_leeway(self.leeway),
            keys,
            revocations,
            max_staleness: self.max_staleness,
            when_stale: self.when_stale,
            clock: self.clock,
            _feeds: feeds,
        };
        Ok(Verifier(Arc::new(Shared { introspection, audience, by: By::Memory(Box::new(local)) })))
    }
}

#[derive(Debug)]
struct Shared {
    introspection: Introspection,
    audience: Audience,
    by: By,
}

/// How it decides.
#[derive(Debug)]
enum By {
    /// By what it knows; asking where that is not enough.
    Memory(Box<Local>),
    /// By asking about each token.
    Asking { issuer: String },
}

#[derive(Debug)]
struct Local {
    verifier: verify::Verifier,
    keys: Arc<Keys>,
    revocations: Arc<Revocations>,
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
            checks: Checks::Here,
        }
    }

    /// Waits until keys and revocations have been read once. Bound it with a timeout; a service may
    /// also start before that, and refuses as unavailable what it can't decide.
    pub async fn ready(&self) {
        if let By::Memory(local) = &self.0.by {
            local.keys.loaded().await;
            local.revocations.complete().await;
        }
    }

    /// Who bears the token.
    pub async fn verify(&self, token: &str) -> Result<Identity, Rejection> {
        let introspection = &self.0.introspection;
        let local = match &self.0.by {
            By::Memory(local) => local,
            By::Asking { issuer } => {
                let seen = introspection.token(issuer, token).await?;
                return self.0.for_here(&seen).map(|()| Identity::new(Arc::new(seen)));
            }
        };
        let mut known = self.0.known(local, token);
        if let Known::UnknownKey = known {
            if let Err(error) = local.keys.reread().await {
                debug!(realm = %introspection.realm, %error, "a token of an unknown key can't be decided");
                return Err(Rejection::Unavailable(Outage::Keys));
            }
            known = self.0.known(local, token);
        }
        match known {
            Known::Unsure(seen) => introspection.ask(token).await.map(|_| Identity::new(seen)),
            Known::UnknownKey => Err(rejected(verify::Rejection::UnknownKey)),
            Known::Good(seen) => Ok(Identity::new(seen)),
            Known::Bad(rejection) => Err(rejection),
        }
    }

    /// Who bears the token, by memory alone; `None` if the authority would have to be asked.
    pub fn verify_known(&self, token: &str) -> Option<Result<Identity, Rejection>> {
        let By::Memory(local) = &self.0.by else { return None };
        match self.0.known(local, token) {
            Known::Good(seen) => Some(Ok(Identity::new(seen))),
            Known::Bad(rejection) => Some(Err(rejection)),
            Known::UnknownKey | Known::Unsure(_) => None,
        }
    }
}

impl Shared {
    fn known(&self, local: &Local, token: &str) -> Known {
        let now = local.clock.now();
        let seen = match local.verifier.verify(&self.introspection.realm, token, now) {
            Ok(seen) => seen,
            Err(verify::Rejection::UnknownKey) => return Known::UnknownKey,
            Err(rejection) => return Known::Bad(rejected(rejection)),
        };
        if let Err(rejection) = self.for_here(&seen) {
            return Known::Bad(rejection);
        }
        if local.revocations.staleness(now) <= local.max_staleness {
            return Known::Good(seen);
        }
        match local.when_stale {
            WhenStale::Introspect => Known::Unsure(seen),
            WhenStale::Refuse => Known::Bad(Rejection::Unavailable(Outage::Revocations)),
            WhenStale::Accept => Known::Good(seen),
        }
    }

    /// Whether it is meant for this service, and by who presents it.
    fn for_here(&self, seen: &VerifiedToken) -> Result<(), Rejection> {
        if !seen.audience.contains(&self.audience) {
            return Err(Rejection::NotAuthenticated(NotAuthenticated::WrongAudience));
        }
        if seen.confirmation.is_some() {
            return Err(Rejection::NotAuthenticated(NotAuthenticated::BoundToKey));
        }
        Ok(())
    }
}

fn rejected(rejection: verify::Rejection) -> Rejection {
    Rejection::NotAuthenticated(NotAuthenticated::Token(rejection))
}
