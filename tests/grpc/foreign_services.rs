//! The example services in other languages, as processes of their own: they check tokens by themselves,
//! by the keys and revocations that they follow. Each test holds both to the same.

mod service;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;
use token_authority::domain::ids::Sid;
use token_authority::proto::v1;
use token_authority::proto::v1::key_service_client::KeyServiceClient;
use token_authority::proto::v1::revocation_entry::Target;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use self::service::{LANGUAGES, Service, all_come_to};
use crate::edges::get;
use crate::sdk::relay::{Relay, wire};
use crate::server_process::ServerProcess;

const ISSUER: &str = "http://authority.test";

#[tokio::test(flavor = "multi_thread")]
async fn they_refuse_what_was_revoked_without_asking() {
    let server = ServerProcess::start(&["--public-url", ISSUER]);
    let services = LANGUAGES.map(|language| Service::start(language, server.grpc(), ISSUER, "60"));
    let authority = Authority::connect(&server).await;
    let witness = authority.issue(orders("witness", "other")).await.access_token;
    all_come_to(200, &services, &witness).await;

    let confirmation = v1::confirmation::Thumbprint::JwkThumbprint("A".repeat(43));
    let confirmation = Some(v1::Confirmation { thumbprint: Some(confirmation) });
    let bound = authority.issue(v1::IssueTokenRequest { confirmation, ..orders("ann", "app") }).await;
    let audience = vec!["mail".to_owned()];
    let elsewhere = authority.issue(v1::IssueTokenRequest { audience, ..orders("ann", "app") }).await;
    let changed = format!("{}AAAAAAAA", &witness[..witness.len() - 8]);
    for service in &services {
        for token in ["", "garbage", "a.b.c", &changed, &bound.access_token, &elsewhere.access_token] {
            assert_eq!(service.status(token).await, 401, "{token}");
        }
    }

    for end in [End::Session, End::Token, End::SessionEpoch, End::SubjectEpoch, End::Client, End::Key, End::Realm] {
        let tokens = authority.issue(end.login()).await;
        all_come_to(200, &services, &tokens.access_token).await;
        authority.end(end, &tokens).await;
        all_come_to(401, &services, &tokens.access_token).await;
        for service in &services {
            let status = if matches!(end, End::Key | End::Realm) { 401 } else { 200 };
            assert_eq!(service.status(&witness).await, status, "a witness of {end:?}");
        }
    }
    all_come_to(200, &services, &authority.issue(orders("ann", "app")).await.access_token).await;
    let (_, metrics) = get(server.http(), "/metrics").await;
    assert!(metrics.contains("TokenService/RevokeToken") && !metrics.contains("Introspect"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_refuse_all_while_the_authority_is_gone_too_long_and_go_on_when_it_is_back() {
    let directory = TempDir::new().expect("a directory");
    let mut server = ServerProcess::start_in(directory.path(), &["--public-url", ISSUER]);
    let address = server.grpc();
    let services = LANGUAGES.map(|language| Service::start(language, address, ISSUER, "4"));
    let authority = Authority::connect(&server).await;
    let (alive, revoked) = (authority.issue(orders("ann", "app")).await, authority.issue(orders("ann", "app")).await);
    authority.end(End::Session, &revoked).await;
    all_come_to(200, &services, &alive.access_token).await;
    all_come_to(401, &services, &revoked.access_token).await;

    server.kill9();
    all_come_to(503, &services, &alive.access_token).await;

    let arguments = ["--public-url", ISSUER, "--grpc", &address.to_string()];
    let server = ServerProcess::start_in(directory.path(), &arguments);
    let authority = Authority::connect(&server).await;
    all_come_to(200, &services, &alive.access_token).await;
    for service in &services {
        assert_eq!(service.status(&revoked.access_token).await, 401);
    }
    authority.end(End::Session, &alive).await;
    all_come_to(401, &services, &alive.access_token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_go_on_where_a_stream_was_cut_and_start_over_after_a_gap() {
    let relay = Relay::start().await;
    let issuer = format!("http://{}", relay.server.http());
    for language in LANGUAGES {
        let service = Service::start(language, relay.socket(), &issuer, "600");
        let (token, ended) = (relay.login().await, relay.login().await);
        let session = Sid::parse(&ended.session_id).expect("a sid").session.0.to_vec();
        let expire_time = Some(wire(relay.now() + Duration::from_secs(1_000)));
        let end = v1::RevocationEntry { target: Some(Target::Session(session)), expire_time };

        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "");
        assert_eq!(service.status(&token.access_token).await, 503, "nothing is known yet");
        feed.snapshot(Vec::new(), "r0", relay.now());
        service.comes_to(200, &token.access_token).await;
        feed.delta(1, vec![end], "r1", relay.now());
        service.comes_to(401, &ended.access_token).await;
        drop(feed);
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "r1", "what it holds is good to go on from");
        feed.fail(Status::unavailable("resume"));
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "r1", "and after an outage");
        feed.fail(Status::invalid_argument("no revision"));
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "", "what it holds is not known there");

        feed.snapshot(Vec::new(), "r1", relay.now());
        feed.delta(1, Vec::new(), "r2", relay.now());
        feed.delta(3, Vec::new(), "r4", relay.now());
        feed.left().await;
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "", "one is missing");
        feed.delta(1, Vec::new(), "r5", relay.now());
        let feed = relay.feed().await;
        assert_eq!(feed.after_revision, "", "a change without the snapshot is none");
        feed.snapshot(vec![v1::RevocationEntry { target: None, expire_time }], "r6", relay.now());
        assert_eq!(relay.feed().await.after_revision, "", "what can't be read might be anybody's end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_take_nothing_but_an_access_token_of_the_issuer_that_has_not_expired() {
    let relay = Relay::start().await;
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k", "x": x });
    relay.publish(json!({ "keys": [jwk] }).to_string().as_bytes());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k" });
    let claims = json!({
        "iss": ISSUER, "aud": "orders", "exp": now + 600, "iat": now, "sub": "ann", "client_id": "app",
        "jti": URL_SAFE_NO_PAD.encode([0; 43]),
    });

    for language in LANGUAGES {
        let service = Service::start(language, relay.socket(), ISSUER, "600");
        relay.feed().await.snapshot(Vec::new(), "r0", relay.now());
        service.comes_to(200, &sign(&key, &header, &claims)).await;
        let wrong = [("typ", json!("JWT")), ("typ", Value::Null), ("kid", json!("other")), ("alg", json!("none"))];
        for (name, value) in wrong {
            assert_eq!(service.status(&sign(&key, &with(&header, name, &value), &claims)).await, 401, "{name} {value}");
        }
        let wrong = [
            ("exp", json!(now - 60)),
            ("iss", json!("http://elsewhere.test")),
            ("aud", json!(["mail"])),
            ("cnf", json!({ "jkt": "key" })),
        ];
        let missing = ["exp", "iss", "aud", "sub", "jti", "client_id"].map(|name| (name, Value::Null));
        for (name, value) in wrong.into_iter().chain(missing) {
            assert_eq!(service.status(&sign(&key, &header, &with(&claims, name, &value))).await, 401, "{name} {value}");
        }
    }
}

/// The members with one of them changed, or gone if it is null.
fn with(members: &Value, name: &str, value: &Value) -> Value {
    let mut members = members.clone();
    let object = members.as_object_mut().expect("an object");
    object.insert(name.to_owned(), value.clone());
    object.retain(|_, value| !value.is_null());
    members
}

fn sign(key: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(format!("{header}.{claims}").as_bytes()));
    format!("{header}.{claims}.{signature}")
}

/// A way in which tokens end, each with an entry of its own kind.
#[derive(Debug, Clone, Copy)]
enum End {
    Session,
    Token,
    SessionEpoch,
    SubjectEpoch,
    Client,
    Key,
    Realm,
}

impl End {
    /// A login that it ends alone, if it can. A client's is of a later epoch by then, for what is
    /// read of a token beside the epoch.
    fn login(self) -> v1::IssueTokenRequest {
        let without_session = matches!(self, Self::Token | Self::SubjectEpoch | Self::Client);
        v1::IssueTokenRequest { without_session, ..orders("ann", "app") }
    }
}

/// A login for the example services.
fn orders(subject: &str, client: &str) -> v1::IssueTokenRequest {
    v1::IssueTokenRequest {
        subject: subject.to_owned(),
        client_id: client.to_owned(),
        audience: vec!["orders".to_owned()],
        ..v1::IssueTokenRequest::default()
    }
}

struct Authority {
    tokens: TokenServiceClient<Channel>,
    sessions: SessionServiceClient<Channel>,
    keys: KeyServiceClient<Channel>,
}

impl Authority {
    async fn connect(server: &ServerProcess) -> Self {
        let channel = Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects");
        Self {
            tokens: TokenServiceClient::new(channel.clone()),
            sessions: SessionServiceClient::new(channel.clone()),
            keys: KeyServiceClient::new(channel),
        }
    }

    async fn issue(&self, request: v1::IssueTokenRequest) -> v1::TokenPair {
        self.tokens.clone().issue_token(request).await.expect("issues").into_inner().tokens.expect("tokens")
    }

    async fn end(&self, end: End, tokens: &v1::TokenPair) {
        let (subject, client_id) = ("ann".to_owned(), "app".to_owned());
        let done = match end {
            End::Session | End::Token => {
                let request = v1::RevokeTokenRequest { token: tokens.access_token.clone(), ..Default::default() };
                self.tokens.clone().revoke_token(request).await.map(drop)
            }
            End::SessionEpoch => {
                let (session_id, claims) = (tokens.session_id.clone(), Some(prost_types::Struct::default()));
                let request = v1::UpdateSessionClaimsRequest {
                    session_id,
                    claims,
                    end_access_tokens: true,
                    ..Default::default()
                };
                self.sessions.clone().update_session_claims(request).await.map(drop)
            }
            End::SubjectEpoch => {
                let request = v1::RevokeAllSessionsRequest { subject, ..Default::default() };
                self.sessions.clone().revoke_all_sessions(request).await.map(drop)
            }
            End::Client => {
                let request = v1::RevokeClientRequest { client_id, ..Default::default() };
                self.tokens.clone().revoke_client(request).await.map(drop)
            }
            End::Key => {
                let request = v1::RevokeKeyRequest { key_id: key_id(&tokens.access_token), ..Default::default() };
                self.keys.clone().revoke_key(request).await.map(drop)
            }
            End::Realm => self.tokens.clone().revoke_realm(v1::RevokeRealmRequest::default()).await.map(drop),
        };
        done.unwrap_or_else(|status| panic!("{end:?}: {status}"));
    }
}

fn key_id(token: &str) -> String {
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok()).expect("a header");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}
