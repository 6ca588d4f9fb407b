//! A server over TLS that asks for certificates and takes none for an answer, with a client for each role and
//! each way to prove it, on a clock that the test turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;
use token_authority::app::Server;
use token_authority::authority::caller::RegisteredClient;
use token_authority::authority::ports::Clock;
use token_authority::config::{Config, KeySetSource, KubernetesConfig, TlsConfig, TlsMode};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::caller_name::{CertificateName, ServiceAccount};
use token_authority::domain::client::{Client, GrantType, Role};
use token_authority::domain::ids::{Audience, ClientId, RealmName};
use token_authority::domain::policy::{Allowed, RealmPolicy};
use token_authority::domain::time::Timestamp;
use token_authority::proto::v1;
use token_authority::system::SystemEntropy;
use token_authority::verify::client::SecretHash;
use token_authority::verify::keys::PublicKey;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::certificates::{Authority, Files, Pair};
use crate::raw_call::send;

pub(super) const SECRET: &str = "tas_0123456789abcdef0123456789";
/// What the certificates of `certificates.rs` name.
const SHOP: &str = "spiffe://example.org/shop";
const CLUSTER: &str = "https://cluster.example";
const FAR: i64 = 4_000_000_000;

#[derive(Debug)]
struct Turned(AtomicI64);

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

pub(super) struct Scene {
    pub(super) server: Server,
    pub(super) authority: Authority,
    clock: Arc<Turned>,
    plain: Channel,
    _directory: TempDir,
}

impl Scene {
    pub(super) async fn start() -> Self {
        let (authority, directory) = (Authority::new(), TempDir::new().unwrap());
        let files = Files(directory.path());
        files.write(&authority.server(), &authority);
        let clock = Arc::new(Turned(AtomicI64::new(1_800_000_000_000)));
        let mut config = Config::on_free_ports(&directory.path().join("data"));
        config.tls = Some(TlsConfig {
            certificate: files.path("server.pem"),
            key: files.path("server-key.pem"),
            client_ca: Some(files.path("ca.pem")),
            grpc: TlsMode::Optional,
            http: TlsMode::Off,
        });
        let key_set = files.path("jwks.json");
        let x = URL_SAFE_NO_PAD.encode(pair(9).public_key());
        let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] });
        std::fs::write(&key_set, set.to_string()).unwrap();
        let (issuer, audience) = (CLUSTER.to_owned(), "token-authority".to_owned());
        config.kubernetes = Some(KubernetesConfig { issuer, audience, key_set: KeySetSource::File(key_set) });
        register(&mut config);
        let server = Server::start_with(config, clock.clone(), Arc::new(SystemEntropy)).await.unwrap();
        let plain = channel(&server, &authority, None);
        Self { server, authority, clock, plain, _directory: directory }
    }

    /// Time passes, so that what is issued next is no older than a cut-off.
    pub(super) fn pass(&self) {
        self.clock.0.fetch_add(2_000, Ordering::SeqCst);
    }

    pub(super) fn seconds(&self) -> i64 {
        self.clock.now().seconds()
    }

    pub(super) fn channel(&self, certificate: Option<&Pair>) -> Channel {
        channel(&self.server, &self.authority, certificate)
    }

    /// A login by the issuer.
    pub(super) async fn login(&self, subject: &str) -> v1::TokenPair {
        let request = v1::IssueTokenRequest { subject: subject.to_owned(), ..Default::default() };
        let answer: Result<v1::IssueTokenResponse, Status> =
            self.ask("token_authority.v1.TokenService/IssueToken", &basic("issuer"), &request).await;
        answer.unwrap().tokens.unwrap()
    }

    /// A unary call with this header, and its answer.
    pub(super) async fn ask<A: prost::Message + Default>(
        &self,
        method: &str,
        authorization: &str,
        request: &impl prost::Message,
    ) -> Result<A, Status> {
        let answer = send(self.plain.clone(), method, Some(authorization), &request.encode_to_vec()).await.unwrap();
        if let Some(status) = Status::from_header_map(answer.headers()) {
            return Err(status);
        }
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        Ok(A::decode(&body[5..]).unwrap())
    }

    /// An assertion by the client `keyed`.
    pub(super) fn assertion(&self, id: &str, lives: i64) -> String {
        let issuer = format!("http://{}", self.server.http_address());
        let claims = json!({ "iss": "keyed", "sub": "keyed", "aud": issuer, "jti": id, "exp": self.seconds() + lives });
        format!("Bearer {}", sign(7, &json!({ "alg": "EdDSA" }), &claims))
    }

    /// A token of a service account.
    pub(super) fn account(&self, name: &str, audience: &str, lives: i64) -> String {
        let claims = json!({
            "iss": CLUSTER, "aud": [audience], "sub": format!("system:serviceaccount:shop:{name}"),
            "exp": self.seconds() + lives,
        });
        format!("Bearer {}", sign(9, &json!({ "alg": "EdDSA", "kid": "k" }), &claims))
    }

    pub(super) fn forever() -> i64 {
        FAR
    }
}

fn channel(server: &Server, trusted: &Authority, own: Option<&Pair>) -> Channel {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.pem()));
    if let Some(own) = own {
        tls = tls.identity(Identity::from_pem(&own.certificate, &own.key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", server.grpc_address())).unwrap();
    endpoint.tls_config(tls).unwrap().connect_lazy()
}

pub(super) fn basic(client: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{client}:{SECRET}")))
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn sign(seed: u8, header: &Value, claims: &Value) -> String {
    let input = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(pair(seed).sign(input.as_bytes())))
}

/// In `default` a client a role, and three issuers that prove it in other ways; in `other` one that may
/// do everything there.
fn register(config: &mut Config) {
    let (realm, other) = (RealmName::parse("default").unwrap(), RealmName::parse("other").unwrap());
    for policy in &mut config.realms {
        policy.algorithm = Algorithm::EdDsa;
    }
    let mut policy = RealmPolicy::permissive(other.clone(), Audience::parse("other").unwrap(), None);
    policy.algorithm = Algorithm::EdDsa;
    config.realms.push(policy);
    let mut clients: Vec<_> = Role::ALL.into_iter().map(|role| by_secret(role.name(), &[role])).collect();
    let public = PublicKey::ed25519(pair(7).public_key().as_ref().try_into().unwrap()).unwrap();
    let bare = |id| RegisteredClient { secrets: Vec::new(), ..by_secret(id, &[Role::Issuer]) };
    clients.push(RegisteredClient { keys: vec![public], ..bare("keyed") });
    clients.push(RegisteredClient { certificates: vec![CertificateName::parse(SHOP).unwrap()], ..bare("certified") });
    let account = ServiceAccount::parse("shop/web").unwrap();
    clients.push(RegisteredClient { service_accounts: vec![account], ..bare("account") });
    let mut narrow = by_secret("narrow", &[Role::Issuer, Role::Introspector]);
    narrow.client.audiences = Allowed::Only([Audience::parse("orders").unwrap()].into());
    narrow.client.scopes = Allowed::Only([].into());
    clients.push(narrow);
    let mut service = by_secret("service", &[]);
    service.client.grants = [GrantType::TokenExchange, GrantType::ClientCredentials].into();
    clients.push(service);
    config.clients.insert(realm, clients);
    config.clients.insert(other, vec![by_secret("of-other", &Role::ALL)]);
}

fn by_secret(id: &str, roles: &[Role]) -> RegisteredClient {
    RegisteredClient {
        client: Client {
            id: ClientId::parse(id).unwrap(),
            grants: [].into(),
            audiences: Allowed::Any,
            scopes: Allowed::Any,
            roles: roles.iter().copied().collect(),
        },
        secrets: vec![SecretHash::of(SECRET).unwrap()],
        keys: Vec::new(),
        certificates: Vec::new(),
        service_accounts: Vec::new(),
    }
}
