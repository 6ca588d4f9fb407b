//! Every call that changes something writes an audit line that names its caller: each is made by a client that
//! is called as the call is, and which calls there are is read from the descriptor.

use std::collections::BTreeSet;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::DescriptorPool;
use serde_json::Value;
use tempfile::TempDir;
use token_authority::domain::client::{GrantType, Role};
use token_authority::proto::FILE_DESCRIPTOR_SET;
use token_authority::proto::v1;
use token_authority::proto::v1::key_service_client::KeyServiceClient;
use token_authority::proto::v1::otp_service_client::OtpServiceClient;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::verify::client::SecretHash;
use tonic::Request;
use tonic::transport::Channel;

use crate::code_receiver::CodeReceiver;
use crate::server_process::ServerProcess;
use crate::wire;

const SECRET: &str = "tas_0123456789abcdef0123456789";
/// Calls by whose names one knows that they change nothing.
const READ: [&str; 6] = ["Get", "List", "Watch", "Follow", "Introspect", "BatchIntrospect"];
/// A text for the audit trail, by one who would like to write a line of it.
const REASON: &str = "asked\r\n{\"event\":\"forged\"}\u{1b}[2K";

/// Each call in the order in which they are made, and what it is written down as.
const CALLS: [(&str, &str); 18] = [
    ("IssueToken", "session_opened"),
    ("RefreshToken", "refreshed"),
    ("RevokeToken", "session_ended"),
    ("BatchRevokeTokens", "session_ended"),
    ("UpdateSessionClaims", "claims_updated"),
    ("TrustDevice", "device_trusted"),
    ("ForgetDevice", "device_forgotten"),
    ("RevokeSession", "revocation_asked"),
    ("RevokeAllSessions", "revocation_asked"),
    ("EraseSubject", "subject_erased"),
    ("RequestCode", "code_requested"),
    ("VerifyCode", "code_verified"),
    ("PrepareKey", "key_prepared"),
    ("ActivateKey", "key_scheduled"),
    ("RetireKey", "key_retired"),
    ("RevokeKey", "key_revoked"),
    ("RevokeClient", "client_revoked"),
    ("RevokeRealm", "realm_revoked"),
];
/// The same of the endpoints of OAuth, by what they are asked.
const FORMS: [(&str, &str); 4] = [
    ("client_credentials", "sessionless_token_issued"),
    ("refresh_token", "refreshed"),
    ("token-exchange", "token_exchanged"),
    ("revoke", "session_ended"),
];

struct Scene {
    server: ServerProcess,
    channel: Channel,
    receiver: CodeReceiver,
    _directory: TempDir,
}

impl Scene {
    /// In `default` a client for each call and form, in `open` none.
    async fn start() -> Self {
        let (directory, receiver) = (TempDir::new().expect("a directory"), CodeReceiver::start().await);
        let list = |names: &[&str]| format!("{names:?}");
        let (roles, grants) = (list(&Role::ALL.map(Role::name)), list(&GrantType::ALL.map(GrantType::name)));
        let hash = SecretHash::of(SECRET).expect("long enough").to_string();
        let (url, secret) = (receiver.url(), receiver.secret_file());
        let otp = format!("[realm.otp]\nwebhook_url = {url:?}\nwebhook_secret_file = {secret:?}\n");
        let clients = ["setup"].into_iter().chain(CALLS.iter().chain(&FORMS).map(|(name, _)| *name));
        let client = |id| {
            format!(
                "[[realm.clients]]\nid = {id:?}\nsecrets = [{hash:?}]\nroles = {roles}\ngrants = {grants}\n\
                 audiences = \"any\"\nscopes = \"any\"\n"
            )
        };
        let clients: String = clients.map(client).collect();
        for (name, tables) in [("default", otp + &clients), ("open", String::new())] {
            let text = format!("[realm]\nname = {name:?}\nalgorithm = \"EdDSA\"\n{tables}");
            fs::write(directory.path().join(format!("{name}.toml")), text).expect("writes");
        }
        let realms = directory.path().to_str().expect("UTF-8");
        let server = ServerProcess::start(&["--realms", realms, "--log-format", "json"]);
        let channel = Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects");
        Self { server, channel, receiver, _directory: directory }
    }

    fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    fn sessions(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel.clone())
    }

    fn keys(&self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(self.channel.clone())
    }

    fn codes(&self) -> OtpServiceClient<Channel> {
        OtpServiceClient::new(self.channel.clone())
    }

    async fn login(&self, by: &str, subject: &str) -> v1::TokenPair {
        let device = Some(v1::Device { device_id: "phone".into(), ..Default::default() });
        let login = v1::IssueTokenRequest { subject: subject.into(), device, ..Default::default() };
        self.tokens().issue_token(shown(by, login)).await.expect("issues").into_inner().tokens.expect("tokens")
    }

    /// Makes a call by its name, as the client of that name.
    async fn call(&self, by: &str) {
        let (subject, reason) = (format!("subject-of-{by}"), REASON.to_owned());
        let device_id = "phone".to_owned();
        let key = async |state: v1::KeyState| {
            let list = v1::ListKeysRequest { state: state.into(), ..Default::default() };
            let keys = self.keys().list_keys(shown("setup", list)).await.expect("lists").into_inner().keys;
            keys[0].key_id.clone()
        };
        match by {
            "IssueToken" => drop(self.login(by, &subject).await),
            "RefreshToken" => {
                let refresh_token = self.login("setup", &subject).await.refresh_token;
                let request = v1::RefreshTokenRequest { refresh_token, ..Default::default() };
                self.tokens().refresh_token(shown(by, request)).await.expect(by);
            }
            "RevokeToken" => {
                let token = self.login("setup", &subject).await.access_token;
                self.tokens()
                    .revoke_token(shown(by, v1::RevokeTokenRequest { token, ..Default::default() }))
                    .await
                    .expect(by);
            }
            "BatchRevokeTokens" => {
                let tokens = vec![self.login("setup", &subject).await.access_token];
                let request = v1::BatchRevokeTokensRequest { tokens, ..Default::default() };
                self.tokens().batch_revoke_tokens(shown(by, request)).await.expect(by);
            }
            "RevokeClient" => {
                let request = v1::RevokeClientRequest { client_id: "gone".into(), reason, ..Default::default() };
                self.tokens().revoke_client(shown(by, request)).await.expect(by);
            }
            "RevokeRealm" => {
                let request = v1::RevokeRealmRequest { reason, ..Default::default() };
                self.tokens().revoke_realm(shown(by, request)).await.expect(by);
            }
            "UpdateSessionClaims" => {
                let session_id = self.login("setup", &subject).await.session_id;
                let value = prost_types::Value { kind: Some(prost_types::value::Kind::BoolValue(true)) };
                let claims = Some(prost_types::Struct { fields: [("member".to_owned(), value)].into() });
                let request = v1::UpdateSessionClaimsRequest { session_id, claims, ..Default::default() };
                self.sessions().update_session_claims(shown(by, request)).await.expect(by);
            }
            "TrustDevice" => {
                self.login("setup", &subject).await;
                let request = v1::TrustDeviceRequest { subject, device_id, ..Default::default() };
                self.sessions().trust_device(shown(by, request)).await.expect(by);
            }
            "ForgetDevice" => {
                self.login("setup", &subject).await;
                let request = v1::ForgetDeviceRequest { subject, device_id, ..Default::default() };
                self.sessions().forget_device(shown(by, request)).await.expect(by);
            }
            "RevokeSession" => {
                let session_id = self.login("setup", &subject).await.session_id;
                let request = v1::RevokeSessionRequest { session_id, reason, ..Default::default() };
                self.sessions().revoke_session(shown(by, request)).await.expect(by);
            }
            "RevokeAllSessions" => {
                let request = v1::RevokeAllSessionsRequest { subject, reason, ..Default::default() };
                self.sessions().revoke_all_sessions(shown(by, request)).await.expect(by);
            }
            "EraseSubject" => {
                self.login("setup", &subject).await;
                let request = v1::EraseSubjectRequest { subject, ..Default::default() };
                self.sessions().erase_subject(shown(by, request)).await.expect(by);
            }
            "RequestCode" => {
                let request = v1::RequestCodeRequest { recipient: subject, ..Default::default() };
                self.codes().request_code(shown(by, request)).await.expect(by);
                self.receiver.next().await;
            }
            "VerifyCode" => {
                let asked = v1::RequestCodeRequest { recipient: subject.clone(), ..Default::default() };
                self.codes().request_code(shown("setup", asked)).await.expect("a code");
                let code = self.receiver.next().await.data("code").to_owned();
                let request = v1::VerifyCodeRequest { recipient: subject.clone(), code, subject, ..Default::default() };
                self.codes().verify_code(shown(by, request)).await.expect(by);
            }
            "PrepareKey" => drop(self.keys().prepare_key(shown(by, v1::PrepareKeyRequest::default())).await.expect(by)),
            "ActivateKey" => {
                let request = v1::ActivateKeyRequest { immediate: true, ..Default::default() };
                self.keys().activate_key(shown(by, request)).await.expect(by);
            }
            "RetireKey" => {
                let key_id = key(v1::KeyState::Prepared).await;
                let request = v1::RetireKeyRequest { key_id, ..Default::default() };
                self.keys().retire_key(shown(by, request)).await.expect(by);
            }
            "RevokeKey" => {
                let key_id = key(v1::KeyState::Active).await;
                let request = v1::RevokeKeyRequest { key_id, reason, ..Default::default() };
                self.keys().revoke_key(shown(by, request)).await.expect(by);
            }
            other => panic!("{other} changes something, and nobody knows how it is called here"),
        }
    }

    /// Sends a form by its name, as the client of that name.
    async fn form(&self, by: &str) {
        let login = async |client: &str| {
            let login = v1::IssueTokenRequest { subject: "ann".into(), client_id: client.into(), ..Default::default() };
            self.tokens().issue_token(shown("setup", login)).await.expect("issues").into_inner().tokens.expect("tokens")
        };
        let tokens = login(by).await;
        let grant = |grant: GrantType| ("grant_type", grant.name());
        let access_token = "urn:ietf:params:oauth:token-type:access_token";
        let (endpoint, form) = match by {
            "client_credentials" => ("token", vec![grant(GrantType::ClientCredentials)]),
            "refresh_token" => {
                ("token", vec![grant(GrantType::RefreshToken), ("refresh_token", tokens.refresh_token.as_str())])
            }
            "revoke" => ("revoke", vec![("token", tokens.refresh_token.as_str())]),
            _ => {
                let given = ("subject_token", tokens.access_token.as_str());
                ("token", vec![grant(GrantType::TokenExchange), given, ("subject_token_type", access_token)])
            }
        };
        let head = [("Authorization", &*basic(by))];
        let answer = wire::post(self.server.http(), &format!("/oauth2/{endpoint}"), &head, &form).await;
        assert_eq!(answer.status, 200, "{by}: {answer:?}");
    }
}

fn basic(client: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{client}:{SECRET}")))
}

fn shown<T>(client: &str, message: T) -> Request<T> {
    with(&basic(client), message)
}

fn with<T>(authorization: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", authorization.parse().expect("ASCII"));
    request
}

/// What changes something, by the descriptor.
fn mutating() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("a descriptor");
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let names = methods.map(|method| method.name().to_owned());
    names.filter(|name| !READ.iter().any(|read| name.starts_with(read))).collect()
}

/// What was audited, once the server has ended.
fn audited(mut server: ServerProcess) -> Vec<Value> {
    server.terminate();
    let lines = server.stderr_lines().into_iter().filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
    lines.filter(|line| line["target"] == "audit").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_that_changes_something_is_audited_by_its_caller() {
    let written: BTreeSet<_> = CALLS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(mutating(), written, "each call that changes something has a row, and each row is one");
    let scene = Scene::start().await;
    for (name, _) in FORMS {
        scene.form(name).await;
    }
    for (name, _) in CALLS {
        scene.call(name).await;
    }
    let lines = audited(scene.server);
    for (name, event) in CALLS.iter().chain(&FORMS) {
        let by = format!("client:{name}");
        let own: Vec<_> = lines.iter().filter(|line| line["by"] == *by).collect();
        assert!(own.iter().any(|line| line["event"] == *event), "{name}: {event} in {own:?}");
    }
    assert!(lines.iter().all(|line| line["by"].is_string()), "{lines:?}");
    assert!(!lines.iter().any(|line| line["event"] == "forged"));
    let reasons = lines.iter().filter_map(|line| line["reason"].as_str()).filter(|reason| reason.contains("forged"));
    let reasons: Vec<_> = reasons.collect();
    assert_eq!(reasons.len(), 5, "of sessions, a client, a realm and a key: {reasons:?}");
    assert!(reasons.iter().all(|reason| !reason.chars().any(char::is_control)), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_a_cookie_the_operator_and_the_server_have_names_too() {
    let scene = Scene::start().await;
    let own = scene.login("setup", "ann").await;
    let request = v1::RevokeSessionRequest { session_id: own.session_id.clone(), ..Default::default() };
    let bearer = format!("Bearer {}", own.access_token);
    scene.sessions().revoke_session(with(&bearer, request)).await.expect("his own");
    let login = v1::IssueTokenRequest { realm: "open".into(), subject: "ann".into(), ..Default::default() };
    let issued = scene.tokens().issue_token(login).await.expect("as the operator").into_inner();
    let cookie = format!("__Secure-refresh_token={}", issued.tokens.expect("tokens").refresh_token);
    let head = [("Sec-Fetch-Site", "same-origin"), ("Cookie", cookie.as_str())];
    let answer = wire::send(scene.server.http(), "POST", "/realms/open/session/logout", &head, "").await;
    assert_eq!(answer.status, 204, "{answer:?}");

    let lines = audited(scene.server);
    let by = |realm: &str, event: &str| {
        let line = lines.iter().find(|line| line["realm"] == realm && line["event"] == event);
        line.unwrap_or_else(|| panic!("{event} in {lines:?}")).clone()
    };
    let ended = by("default", "session_ended");
    assert_eq!(ended["by"], format!("session:{}", ended["session"].as_str().expect("a session")));
    assert_eq!(by("open", "session_opened")["by"], "operator");
    assert_eq!(by("open", "session_ended")["by"], "bearer");
}
