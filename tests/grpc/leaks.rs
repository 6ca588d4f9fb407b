//! No token, claim, subject, code or anything else that a client wrote, and no secret of the operator's, appears
//! in a log line, a trace, a refusal or a metric: planted values, sent through every call with and without
//! success, are searched for.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::value::Kind;
use tempfile::TempDir;
use token_authority::proto::v1;
use token_authority::proto::v1::otp_service_client::OtpServiceClient;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use token_authority::verify::client::SecretHash;

use crate::code_receiver::{CodeReceiver, SECRET as WEBHOOK_SECRET};
use crate::collector::Collector;
use crate::server_process::ServerProcess;
use crate::wire;

mod codes;
mod every_call;

const PHONE: &str = "+4915112345678";
const CLAIM: &str = "planted_claim_name";
const VALUE: &str = "planted-claim-value";
const DEVICE: &str = "planted-device";
const FORGED: &str = "planted-agent\r\n2026-01-01T00:00:00Z  INFO audit: planted-line\u{1b}[2K\u{85}\u{2028}";
const SESSION: &str = "planted-session";
const BAD: &str = "planted\0bad\ninput";
/// As text, and as bytes are shown: in base64, hexadecimal and decimal.
const PLANTED: [&str; 5] = ["planted", "15112345678", "cGxhbnRlZ", "706c616e", "112, 108, 97"];
const KEY: [u8; 32] = *b"planted planted planted planted ";
/// Of the client `app` in the realm `closed`.
const CLIENT_SECRET: &str = "planted-secret-0123456789abcdef";

/// Sends credentials with each call, whether anybody asks for them or not; one header is asked for.
#[derive(Clone, Default)]
struct Credentials {
    authorization: Option<String>,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for name in ["cookie", "tracestate", "x-request-id"] {
            request.metadata_mut().insert(name, "Bearer planted=credential".parse().expect("ASCII"));
        }
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert("authorization", value.parse().expect("ASCII"));
        }
        Ok(request)
    }
}

/// What is meant for the audit trail, by one who would like to write more than that.
const REASON: &str = "the user asked\r\n2026-01-01T00:00:00Z  INFO audit: another line\u{1b}[2K";

type Caller = InterceptedService<Channel, Credentials>;

struct Clients {
    tokens: TokenServiceClient<Caller>,
    sessions: SessionServiceClient<Caller>,
    /// Every token that was issued.
    issued: Vec<String>,
}

impl Clients {
    async fn issue(&mut self, device: &str) -> v1::TokenPair {
        let value = prost_types::Value { kind: Some(Kind::StringValue(VALUE.to_owned())) };
        let request = v1::IssueTokenRequest {
            subject: PHONE.into(),
            claims: Some(prost_types::Struct { fields: BTreeMap::from([(CLAIM.to_owned(), value)]) }),
            device: Some(v1::Device {
                device_id: device.into(),
                platform: DEVICE.into(),
                name: DEVICE.into(),
                user_agent: FORGED.into(),
                ip_address: "192.0.2.77".into(),
            }),
            request_id: format!("planted-request-{device}"),
            ..Default::default()
        };
        let pair = self.tokens.issue_token(request).await.expect("issues").into_inner().tokens.expect("tokens");
        self.issued.extend([pair.access_token.clone(), pair.refresh_token.clone()]);
        pair
    }

    async fn refresh(&mut self, token: &str) -> Option<v1::TokenPair> {
        let request = v1::RefreshTokenRequest { refresh_token: token.into(), ..Default::default() };
        let pair = self.tokens.refresh_token(request).await.ok()?.into_inner().tokens?;
        self.issued.extend([pair.access_token.clone(), pair.refresh_token.clone()]);
        Some(pair)
    }

    /// What succeeds, what is refused by the rules, and a replay.
    async fn live(&mut self) {
        let first = self.issue("planted-phone").await;
        let second = self.refresh(&first.refresh_token).await.expect("refreshes");
        self.refresh(&second.refresh_token).await.expect("refreshes");
        for token in [&first.access_token, &first.refresh_token] {
            let request = v1::IntrospectTokenRequest { token: token.clone(), ..Default::default() };
            self.tokens.introspect_token(request).await.expect("answers");
        }
        let tokens = self.issued.clone();
        let batch = v1::BatchIntrospectTokensRequest { tokens: tokens.clone(), ..Default::default() };
        self.tokens.batch_introspect_tokens(batch).await.expect("answers");
        let value = prost_types::Value { kind: Some(Kind::StringValue(VALUE.to_owned())) };
        let claims = v1::UpdateSessionClaimsRequest {
            session_id: first.session_id.clone(),
            claims: Some(prost_types::Struct { fields: BTreeMap::from([(CLAIM.to_owned(), value)]) }),
            ..Default::default()
        };
        self.sessions.update_session_claims(claims).await.expect("updates");
        let get = v1::GetSessionRequest { session_id: first.session_id.clone(), ..Default::default() };
        self.sessions.get_session(get).await.expect("answers");
        assert_eq!(self.refresh(&first.refresh_token).await, None, "a replay");
        let spare = self.issue("planted-spare").await;
        for token in [spare.refresh_token, spare.access_token] {
            let request = v1::RevokeTokenRequest { token, ..Default::default() };
            self.tokens.revoke_token(request).await.expect("revokes");
        }
        let batch = v1::BatchRevokeTokensRequest { tokens, ..Default::default() };
        self.tokens.batch_revoke_tokens(batch).await.expect("answers");
        let list = v1::ListSessionsRequest { subject: PHONE.into(), ..Default::default() };
        self.sessions.list_sessions(list).await.expect("lists");
        let all = v1::RevokeAllSessionsRequest { subject: PHONE.into(), reason: REASON.into(), ..Default::default() };
        let _ = self.sessions.revoke_all_sessions(all).await;
        let erase = v1::EraseSubjectRequest { subject: PHONE.into(), ..Default::default() };
        self.sessions.erase_subject(erase).await.expect("erases");
    }

    /// What no rule lets through, with the same text wherever a client may write any.
    async fn bad_input(&mut self, text: &str) {
        let (t, s) = (text.to_owned(), &mut self.sessions);
        let device = v1::Device { device_id: "x".repeat(200) + text, name: t.clone(), ..Default::default() };
        let issue = v1::IssueTokenRequest { realm: t.clone(), subject: PHONE.into(), ..Default::default() };
        self.tokens.issue_token(issue).await.expect_err("no such realm");
        let issue = v1::IssueTokenRequest {
            subject: t.repeat(99),
            client_id: t.clone(),
            scope: vec![t.clone()],
            audience: vec![t.clone()],
            device: Some(device),
            ..Default::default()
        };
        self.tokens.issue_token(issue).await.expect_err("too long");
        let of = v1::RefreshTokenRequest { refresh_token: t.clone(), client_id: t.clone(), ..Default::default() };
        self.tokens.refresh_token(of).await.expect_err("no token");
        let of = v1::IntrospectTokenRequest { token: t.clone(), ..Default::default() };
        self.tokens.introspect_token(of).await.expect("inactive");
        let of = v1::RevokeTokenRequest { token: t.clone(), token_type_hint: t.clone(), ..Default::default() };
        let _ = self.tokens.revoke_token(of).await;
        let of = v1::RevokeClientRequest { client_id: t.repeat(99), reason: t.clone(), ..Default::default() };
        self.tokens.revoke_client(of).await.expect_err("too long");
        let of = v1::RevokeRealmRequest { realm: t.clone(), reason: t.clone() };
        self.tokens.revoke_realm(of).await.expect_err("no such realm");
        self.tokens.get_jwks(v1::GetJwksRequest { realm: t.clone() }).await.expect_err("no such realm");
        let of = v1::WatchJwksRequest { realm: t.clone() };
        self.tokens.watch_jwks(of).await.expect_err("not served");
        let of = v1::ListSessionsRequest { subject: t.clone(), page_token: t.clone(), ..Default::default() };
        let _ = s.list_sessions(of).await;
        for session_id in [SESSION.to_owned(), t.clone()] {
            let of = v1::GetSessionRequest { session_id: session_id.clone(), ..Default::default() };
            let _ = s.get_session(of).await;
            let of = v1::RevokeSessionRequest { session_id, reason: REASON.into(), ..Default::default() };
            let _ = s.revoke_session(of).await;
        }
        let of = v1::EraseSubjectRequest { realm: t.clone(), subject: PHONE.into() };
        s.erase_subject(of).await.expect_err("no such realm");
        let of = v1::WatchSessionsRequest { realm: t, subject: PHONE.into() };
        s.watch_sessions(of).await.expect_err("not served");
    }
}

/// Of every part of a token that says something or opens something.
fn secrets(tokens: &[String]) -> Vec<String> {
    tokens.iter().flat_map(|token| token.split('.').map(|part| part.chars().take(24).collect())).collect()
}

/// A number of six digits may be part of another, or of a second.
fn shows_code(text: &str, code: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    text.match_indices(code).any(|(at, _)| !text[..at].ends_with(part) && !text[at + code.len()..].starts_with(part))
}

/// Realms that send codes, and that know a client; and the key that seals the store.
fn configure(directory: &Path, receiver: &CodeReceiver) -> [String; 2] {
    let realms = directory.join("realms");
    fs::create_dir(&realms).expect("a directory");
    let (url, secret) = (receiver.url(), receiver.secret_file());
    let otp = format!("[realm.otp]\nwebhook_url = {url:?}\nwebhook_secret_file = {secret:?}\n");
    let hash = SecretHash::of(CLIENT_SECRET).expect("long enough").to_string();
    let client =
        format!("[[realm.clients]]\nid = \"app\"\nsecrets = [{hash:?}]\nroles = [\"issuer\"]\naudiences = \"any\"\n");
    for (name, table) in [("default", otp), ("closed", client)] {
        let text = format!("[realm]\nname = {name:?}\nalgorithm = \"EdDSA\"\n{table}");
        fs::write(realms.join(format!("{name}.toml")), text).expect("writes");
    }
    let key = directory.join("key");
    fs::write(&key, KEY.map(|byte| format!("{byte:02x}")).concat()).expect("writes");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("a mode");
    [realms, key].map(|path| path.to_str().expect("UTF-8").to_owned())
}

async fn nothing_leaks(format: &str, level: &str) {
    let collector = Collector::start().await;
    let receiver = CodeReceiver::answering(&[StatusCode::BAD_GATEWAY]).await;
    let directory = TempDir::new().expect("a directory");
    let [realms, key] = configure(directory.path(), &receiver);
    let mut server = ServerProcess::start(&[
        "--realms",
        &realms,
        "--key-file",
        &key,
        "--otlp-endpoint",
        &collector.endpoint(),
        "--trace-ratio",
        "1",
        "--log-format",
        format,
        "--log-level",
        level,
    ]);
    let channel = Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects");
    let mut clients = Clients {
        tokens: TokenServiceClient::with_interceptor(channel.clone(), Credentials::default()),
        sessions: SessionServiceClient::with_interceptor(channel.clone(), Credentials::default()),
        issued: Vec::new(),
    };
    clients.live().await;
    let codes = codes::of(OtpServiceClient::with_interceptor(channel.clone(), Credentials::default()), &receiver).await;
    clients.bad_input(FORGED).await;
    clients.bad_input(BAD).await;
    for proof in [format!("app:{CLIENT_SECRET}"), "app:planted-secret-of-another".into(), "planted:planted".into()] {
        let shown = Credentials { authorization: Some(format!("Basic {}", STANDARD.encode(&proof))) };
        let login = v1::IssueTokenRequest { realm: "closed".into(), subject: PHONE.into(), ..Default::default() };
        let answer = TokenServiceClient::with_interceptor(channel.clone(), shown).issue_token(login).await;
        assert_eq!(answer.is_ok(), proof.ends_with(CLIENT_SECRET), "{answer:?}");
        clients.issued.push(STANDARD.encode(&proof));
    }
    for value in ["Bearer planted=credential", "Bearer cGxhbnRlZA.cGxhbnRlZA.cGxhbnRlZA", "planted"] {
        let wrong = Credentials { authorization: Some(value.to_owned()) };
        let mut stranger = TokenServiceClient::with_interceptor(channel.clone(), wrong);
        let login = v1::IssueTokenRequest { subject: PHONE.into(), ..Default::default() };
        let refused = stranger.issue_token(login).await.expect_err("nobody's");
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{value}");
    }
    let mut refusals = Vec::new();
    for text in ["planted", "tar_planted", "cGxhbnRlZA.cGxhbnRlZA.cGxhbnRlZA", FORGED, BAD, &"planted".repeat(2_000)] {
        refusals.extend(every_call::refusals(&channel, text).await);
    }
    assert!(refusals.len() > 100, "{refusals:?}");
    let metrics = wire::get(server.http(), "/metrics").await;
    assert!(metrics.body.contains("VerifyCode"), "{metrics:?}");
    server.terminate();

    let header = clients.issued[0].split('.').next().expect("a header").chars().take(24).collect::<String>();
    let secrets = secrets(&clients.issued);
    assert!(secrets.len() > 10 && secrets.contains(&header));
    let lines = server.stderr_lines();
    assert!(lines.iter().any(|line| line.contains("session_opened")), "something was logged: {lines:?}");
    assert!(lines.iter().any(|line| line.contains("REPLAYED") || line.contains("replayed")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the user asked")), "the audit trail says why: {lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("2026-01-01")), "one line says it: {lines:?}");
    let exports = format!("{:?}", collector.exports());
    assert!(exports.contains("IssueToken"), "something was exported");
    let told = refusals.iter().map(|(method, status)| {
        format!("{method}: {status:?} {}", String::from_utf8_lossy(status.details()).escape_debug())
    });
    let told: Vec<_> = told.chain([format!("{metrics:?}")]).collect();
    let webhook_secret = STANDARD.encode(WEBHOOK_SECRET);
    let operators = [webhook_secret.as_str(), std::str::from_utf8(&WEBHOOK_SECRET).expect("ASCII"), "192.0.2.77"];
    for text in lines.iter().chain([&exports]).chain(&told) {
        for secret in secrets.iter().map(String::as_str).chain(PLANTED).chain(operators) {
            assert!(!text.contains(secret), "{secret:?} in {text}");
        }
        assert!(!codes.iter().any(|code| shows_code(text, code)), "{codes:?} in {text}");
        assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_wrote_is_in_lines_of_text_or_traces() {
    nothing_leaks("text", "info,token_authority=trace").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_wrote_is_in_lines_of_json_or_traces() {
    nothing_leaks("json", "info,token_authority=trace").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_wrote_is_in_what_libraries_log() {
    nothing_leaks("text", "trace").await;
}
