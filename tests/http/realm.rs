//! A server whose default realm knows four clients: an app that logs in, a gateway that introspects and
//! exchanges, a service with a key, and another app.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use token_authority::config::{AnonymousCalls, Config};
use token_authority::domain::client::{Client, GrantType, Role};
use token_authority::domain::ids::{Audience, ClientId, RealmName, Scope};
use token_authority::domain::policy::Allowed;
use token_authority::proto::v1;
use token_authority::verify::client::{RegisteredClient, SecretHash};
use token_authority::verify::keys::PublicKey;

use crate::test_server::TestServer;
use crate::wire::{self, Answer};

/// Long enough for a secret, and with every character that forms treat in their own way.
const SECRET: &str = "tas_: +%&=0123456789abcdef";

pub(crate) struct Realm {
    pub(crate) server: TestServer,
}

impl Realm {
    pub(crate) async fn start() -> Self {
        Self { server: TestServer::start_configured(register).await }
    }

    /// A login through the app, for the audience of the gateway.
    pub(crate) async fn login(&self, subject: &str) -> v1::TokenPair {
        self.login_for(subject, "app", &["orders"]).await
    }

    pub(crate) async fn login_for(&self, subject: &str, client: &str, audience: &[&str]) -> v1::TokenPair {
        let request = v1::IssueTokenRequest {
            subject: subject.to_owned(),
            client_id: client.to_owned(),
            audience: audience.iter().map(ToString::to_string).collect(),
            scope: vec!["read".to_owned(), "write".to_owned()],
            ..v1::IssueTokenRequest::default()
        };
        self.server.issue(request).await.expect("issues")
    }

    /// A form from a client that proves itself by HTTP Basic.
    pub(crate) async fn post(&self, client: &str, endpoint: &str, form: &[(&str, &str)]) -> Answer {
        self.post_with(&[("Authorization", &basic(client, SECRET))], endpoint, form).await
    }

    pub(crate) async fn post_with(&self, headers: &[(&str, &str)], endpoint: &str, form: &[(&str, &str)]) -> Answer {
        wire::post(self.server.http(), &format!("/oauth2/{endpoint}"), headers, form).await
    }

    pub(crate) async fn is_active(&self, token: &str) -> bool {
        let answer = self.post("gateway", "introspect", &[("token", token)]).await;
        answer.json()["active"].as_bool().expect("an answer")
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.server.http())
    }
}

/// `Authorization` by RFC 6749, section 2.3.1.
pub(crate) fn basic(client: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(client), encoded(secret))))
}

pub(crate) fn secret() -> &'static str {
    SECRET
}

/// What the service signs with its key.
pub(crate) fn assertion(claims: &Value) -> String {
    let header = serde_json::json!({ "alg": "EdDSA", "typ": "JWT" });
    let input = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(pair().sign(input.as_bytes())))
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key")
}

pub(crate) fn register(config: &mut Config) {
    let public = PublicKey::ed25519(pair().public_key().as_ref().try_into().expect("32 bytes")).expect("a key");
    let (app, mut service) = (client("app", &[GrantType::RefreshToken], &[]), client("service", &GrantType::ALL, &[]));
    service.secrets = Vec::new();
    service.keys = vec![public];
    let gateway = client("gateway", &GrantType::ALL, &[Role::Introspector]);
    let ender = client("ender", &[], &[Role::SessionAdmin]);
    // The tests log in without proving who they are.
    config.anonymous = Some(AnonymousCalls::Operator);
    let realm = RealmName::parse("default").expect("a realm");
    config.clients.insert(realm, vec![app, gateway, service, ender]);
}

fn client(id: &str, grants: &[GrantType], roles: &[Role]) -> RegisteredClient {
    RegisteredClient {
        client: Client {
            id: ClientId::parse(id).expect("a client"),
            grants: grants.iter().copied().collect(),
            audiences: Allowed::Only(["orders", "stock"].map(|name| Audience::parse(name).expect("one")).into()),
            scopes: Allowed::Only(["read"].map(|name| Scope::parse(name).expect("one")).into()),
            roles: roles.iter().copied().collect(),
        },
        secrets: vec![SecretHash::of(SECRET).expect("long enough")],
        keys: Vec::new(),
        certificates: Vec::new(),
        service_accounts: Vec::new(),
    }
}
