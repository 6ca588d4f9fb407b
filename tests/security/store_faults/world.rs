//! An authority of its own for each case, over a store in memory that fails on demand. Nobody follows
//! the revocation log here: what an instance knows when it has answered must not depend on that.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Map;
use token_authority::authority::authorization::Asked;
use token_authority::authority::caller::{Anonymous, Credentials};
use token_authority::authority::clients::Clients;
use token_authority::authority::introspect_token::{Active, Consistency, IntrospectToken};
use token_authority::authority::issue_token::{IssueKind, IssueToken, request_id};
use token_authority::authority::ports::{Clock, LogUpdate, Store};
use token_authority::authority::refresh_token::RefreshToken;
use token_authority::authority::{Authority, Error, IssuedTokens, Parts, Realm};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::client::{Client, GrantType, Role};
use token_authority::domain::ids::{Audience, ClientId, DeviceId, Sid, Subject};
use token_authority::domain::policy::{Allowed, Lifetime, RealmPolicy};
use token_authority::domain::revocation::{Position, RevocationScope};
use token_authority::domain::session::Device;
use token_authority::domain::time::Timestamp;
use token_authority::signing::Signer;
use token_authority::store::alone::Alone;
use token_authority::store::embedded::{EmbeddedStore, Limits};
use token_authority::system::SystemEntropy;
use token_authority::tasks::Tasks;
use token_authority::verify::Verifier;
use token_authority::verify::client::{RegisteredClient, SecretHash};
use token_authority::verify::keys::{Issuers, KeySet};
use token_authority::verify::revocations::RevocationIndex;

use super::faulty_store::FaultyStore;
use crate::forge::realm;

/// Noon, until it is turned.
#[derive(Debug)]
pub(crate) struct TurnableClock(AtomicI64);

impl TurnableClock {
    pub(crate) fn set(&self, time: Timestamp) {
        self.0.store(time.millis(), Ordering::SeqCst);
    }
}

impl Clock for TurnableClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct World {
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) index: Arc<RevocationIndex>,
    pub(crate) clock: Arc<TurnableClock>,
    policy: RealmPolicy,
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::parse(name).unwrap()
}

pub(crate) fn login(name: &str, device: &str, kind: IssueKind) -> IssueToken {
    IssueToken {
        subject: subject(name),
        client: Some(ClientId::parse(if name == "bob" { "other" } else { "app" }).unwrap()),
        audience: Vec::new(),
        scope: Vec::new(),
        claims: Map::new(),
        device: Device { id: DeviceId::parse(device).ok(), ..Device::default() },
        lifetime: Lifetime::Standard,
        confirmation: None,
        kind,
        request_id: Some(request_id(&format!("{name} on {device}"), b"")),
    }
}

pub(crate) fn sid(tokens: &IssuedTokens) -> Sid {
    tokens.grant.access.session.unwrap()
}

/// Proves the client `app` over HTTP.
pub(crate) const CLIENT_SECRET: &str = "tas_0123456789abcdef0123456789";

fn app() -> RegisteredClient {
    RegisteredClient {
        client: Client {
            id: ClientId::parse("app").unwrap(),
            grants: GrantType::ALL.into(),
            audiences: Allowed::Any,
            scopes: Allowed::Any,
            roles: Role::ALL.into(),
        },
        secrets: vec![SecretHash::of(CLIENT_SECRET).unwrap()],
        keys: Vec::new(),
        certificates: Vec::new(),
        service_accounts: Vec::new(),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With the realm's policy changed.
    pub(crate) async fn with(change: impl FnOnce(&mut RealmPolicy)) -> Self {
        let world = Self::before_the_log_is_read(change).await;
        world.read_the_log();
        world
    }

    /// Nobody knows yet what was revoked.
    pub(crate) async fn before_the_log_is_read(change: impl FnOnce(&mut RealmPolicy)) -> Self {
        let (clock, entropy) = (Arc::new(TurnableClock(AtomicI64::new(1_800_000_000_000))), Arc::new(SystemEntropy));
        let backend = redb::backends::InMemoryBackend::new();
        let embedded = EmbeddedStore::open_with(backend, &Limits::default(), clock.clone(), entropy.clone()).unwrap();
        let store = FaultyStore::over(Arc::new(embedded));
        let mut policy = RealmPolicy::permissive(realm("web"), Audience::parse("api").unwrap(), None);
        policy.algorithm = Algorithm::EdDsa;
        change(&mut policy);
        Self::over(store, clock, policy).await
    }

    /// Another instance on the same store: beside this one, or this one started again.
    pub(crate) async fn beside(&self) -> Self {
        let world = Self::over(self.store.clone(), self.clock.clone(), self.policy.clone()).await;
        world.read_the_log();
        world
    }

    fn read_the_log(&self) {
        let head = Position { partition: 0, number: 1, tag: 0 };
        self.index.apply(&LogUpdate::Snapshot { head, entries: Vec::new() });
    }

    async fn over(store: Arc<FaultyStore>, clock: Arc<TurnableClock>, policy: RealmPolicy) -> Self {
        let entropy = Arc::new(SystemEntropy);
        let clients = Arc::new(Clients::new([app()]));
        let opened = Realm::open(policy.clone(), clients, "https://issuer.example", &*store, &*clock, &*entropy);
        let realm = opened.await.unwrap();
        let (keys, issuers) = (Arc::new(KeySet::default()), Arc::new(Issuers::default()));
        let signer = Arc::new(Signer::new().unwrap());
        let index = Arc::new(RevocationIndex::new(1));
        let verifier = Arc::new(Verifier::new(keys, issuers, index.clone(), 1 << 16));
        let (realms, tasks) = (vec![realm], Tasks::default());
        let parts = Parts {
            realms,
            store: store.clone(),
            peers: Arc::new(Alone),
            tasks,
            signer,
            verifier,
            index: index.clone(),
            max_staleness: Duration::MAX,
            clock: clock.clone(),
            entropy,
            cluster: None,
        };
        Self { store, authority: Arc::new(Authority::new(parts).unwrap()), index, clock, policy }
    }

    pub(crate) async fn login(&self, name: &str, device: &str) -> IssuedTokens {
        self.authority.issue_token("web", login(name, device, IssueKind::Session)).await.unwrap()
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Result<IssuedTokens, Error> {
        let refresh_token = refresh_token.to_owned();
        let (scope, audience) = (Vec::new(), Vec::new());
        let request = RefreshToken { refresh_token, client: None, scope, audience, confirmation: None, device: None };
        self.authority.refresh_token("web", request).await
    }

    pub(crate) async fn introspect(&self, token: &str, consistency: Consistency) -> Result<Option<Active>, Error> {
        let (token, required_scope) = (token.to_owned(), Vec::new());
        let request = IntrospectToken { token, required_audience: None, required_scope, consistency };
        let call = "/token_authority.v1.TokenService/IntrospectToken";
        let asked = Asked { call, realm: "web", subject: None, session: None };
        let permit = self.authority.authorize(&asked, &Credentials::Nothing(Anonymous::Operator)).await?;
        let answer = self.authority.introspect_token_for(&permit, &request).await?;
        Ok(answer.map(|introspection| introspection.active))
    }

    /// As this instance answers by default: from memory.
    pub(crate) async fn active(&self, token: &str) -> bool {
        self.introspect(token, Consistency::MinimizeLatency).await.unwrap().is_some()
    }

    /// As the record says.
    pub(crate) async fn recorded(&self, token: &str) -> bool {
        self.introspect(token, Consistency::FullyConsistent).await.unwrap().is_some()
    }

    /// How many entries the log has about a session.
    pub(crate) async fn entries(&self, sid: Sid) -> usize {
        let LogUpdate::Snapshot { entries, .. } = self.store.follow().await.unwrap().recv().await.unwrap() else {
            panic!("the first update is a snapshot");
        };
        entries.iter().filter(|entry| entry.scope == RevocationScope::Session(sid.session)).count()
    }
}
