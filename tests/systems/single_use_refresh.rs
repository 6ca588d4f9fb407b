//! D. `single-use-refresh`: the refresh mechanism.

use std::time::Duration;

use serde_json::{Value, json};
use token_authority::client::{AttachToken, Backoff, NoToken, SessionOver, TokenSource, TokenSourceBuilder};
use token_authority::domain::ids::Sid;
use token_authority::proto::v1;
use token_authority::proto::v1::ErrorReason;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceBuilder;

use crate::boot::{apart, measured};
use crate::protected::{Protected, to_authority};
use crate::rows::rows;
use crate::test_server::{TestServer, refusal};
use crate::{audit_log, claims, kept};

const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Longer than two requests with one token can be under way at the same time.
const LATER: Duration = Duration::from_secs(8);

rows! { "single-use-refresh":
    d1_an_expired_access_token_is_not_needed_to_refresh,
    d2_the_new_access_token_has_the_same_user_context,
    d3_a_used_refresh_token_is_refused_and_ends_its_family,
    d4_each_failure_has_a_documented_reason,
    d5_each_attempt_is_in_the_audit_log_and_garbage_is_counted,
    d7_the_client_refreshes_five_minutes_ahead_queues_callers_and_retries_once,
    d8_the_client_is_told_that_the_session_is_over,
    d9_expired_sessions_leave_nothing_behind,
}

async fn d1_an_expired_access_token_is_not_needed_to_refresh(server: &TestServer) {
    let login = server.login("ann", "phone").await;
    server.pass(3 * 24 * 60 * MINUTE);
    assert!(!server.introspect(&login.access_token).await.active);
    let next = server.refresh(&login.refresh_token).await.expect("the refresh token is all it takes");
    assert!(server.introspect(&next.access_token).await.active);
    assert_eq!(next.session_id, login.session_id);
}

async fn d2_the_new_access_token_has_the_same_user_context(server: &TestServer) {
    const NEW: [&str; 3] = ["jti", "iat", "exp"];
    let request = v1::IssueTokenRequest {
        subject: "ann".to_owned(),
        scope: vec!["read".to_owned()],
        claims: claims::given(&json!({ "phone_number": "+4915112345678", "role": "courier" })),
        ..v1::IssueTokenRequest::default()
    };
    let login = server.issue(request).await.expect("issues");
    server.pass(MINUTE);
    let next = server.refresh(&login.refresh_token).await.expect("refreshes");
    let [mut before, mut after] = [&login, &next].map(|tokens| claims::payload(&tokens.access_token));
    let mut take =
        |name: &str| [&mut before, &mut after].map(|claims| claims.as_object_mut().unwrap().remove(name).unwrap());
    for name in NEW {
        let [before, after] = take(name);
        assert_ne!(before, after, "{name}");
    }
    assert_eq!(before, after);
    assert_eq!(
        (&after["sub"], &after["role"], &after["phone_number"]),
        (&json!("ann"), &json!("courier"), &json!("+4915112345678"))
    );
}

async fn d3_a_used_refresh_token_is_refused_and_ends_its_family(server: &TestServer) {
    let bystander = server.login("ann", "laptop").await;
    let first = server.login("ann", "phone").await;
    let second = server.refresh(&first.refresh_token).await.expect("refreshes");
    // It may have been under way together with the one that was answered: refused, and no theft yet.
    let raced = server.refresh(&first.refresh_token).await.expect_err("used");
    assert_eq!(refusal(&raced).1, "REFRESH_TOKEN_SUPERSEDED");
    assert!(server.introspect(&second.access_token).await.active);

    server.pass(LATER);
    let mark = audit_log::mark();
    let replayed = server.refresh(&first.refresh_token).await.expect_err("used");
    assert_eq!(refusal(&replayed).1, "REFRESH_TOKEN_REPLAYED");
    assert!(!server.introspect(&second.access_token).await.active);
    let successor = server.refresh(&second.refresh_token).await.expect_err("its family has ended");
    assert_eq!(refusal(&successor).1, "REFRESH_TOKEN_REPLAYED");
    assert!(server.introspect(&bystander.access_token).await.active, "another session is another family");
    let events = audit_log::since(mark, &server.realm());
    let ended = |event: &Value| event["event"] == "session_ended" && event["session"] == session(&first).as_str();
    let ended: Vec<_> = events.iter().filter(|event| ended(event)).collect();
    assert_eq!((ended.len(), &ended[0]["reason"]), (1, &json!("replay")), "{events:?}");
}

/// The session as the audit log names it.
fn session(tokens: &v1::TokenPair) -> String {
    let sid = Sid::parse(&tokens.session_id).expect("a sid");
    sid.session.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn d4_each_failure_has_a_documented_reason(server: &TestServer) {
    let login = |device: &'static str| server.login("ann", device);
    let expired = login("expired").await;
    server.pass(WEEK);
    let (used, ended, good) = (login("used").await, login("ended").await, login("good").await);
    server.refresh(&used.refresh_token).await.expect("refreshes");
    server.revoke(&ended.refresh_token).await;
    server.pass(LATER);
    let raced = login("raced").await;
    server.refresh(&raced.refresh_token).await.expect("refreshes");

    let token = |refresh_token: &str| v1::RefreshTokenRequest {
        realm: server.realm(),
        refresh_token: refresh_token.to_owned(),
        ..v1::RefreshTokenRequest::default()
    };
    let good = token(&good.refresh_token);
    let cases = [
        (token(""), Code::InvalidArgument, ErrorReason::InvalidRequest),
        (token("no token"), Code::InvalidArgument, ErrorReason::RefreshTokenInvalid),
        (token(&expired.refresh_token), Code::InvalidArgument, ErrorReason::RefreshTokenExpired),
        (token(&used.refresh_token), Code::InvalidArgument, ErrorReason::RefreshTokenReplayed),
        (token(&raced.refresh_token), Code::InvalidArgument, ErrorReason::RefreshTokenSuperseded),
        (token(&ended.refresh_token), Code::InvalidArgument, ErrorReason::SessionEnded),
        (with(&good, |it| it.client_id = "stranger".to_owned()), Code::InvalidArgument, ErrorReason::ClientMismatch),
        (with(&good, |it| it.scope = vec!["write".to_owned()]), Code::PermissionDenied, ErrorReason::ScopeNotGranted),
        (with(&good, |it| it.audience = vec!["a".to_owned()]), Code::PermissionDenied, ErrorReason::AudienceNotAllowed),
        (with(&good, |it| it.realm = "nowhere".to_owned()), Code::NotFound, ErrorReason::UnknownRealm),
    ];
    for (request, code, reason) in cases {
        let refused = server.tokens.clone().refresh_token(request).await.expect_err(reason.as_str_name());
        let name = reason.as_str_name().trim_start_matches("ERROR_REASON_").to_owned();
        assert_eq!(refusal(&refused), (code, name));
        assert!(!refused.message().is_empty());
        assert!(is_documented(reason), "{reason:?}");
    }
    server.tokens.clone().refresh_token(good).await.expect("no failure cost the session anything");
}

fn with(
    request: &v1::RefreshTokenRequest,
    change: impl FnOnce(&mut v1::RefreshTokenRequest),
) -> v1::RefreshTokenRequest {
    let mut request = request.clone();
    change(&mut request);
    request
}

/// Whether the contract says when it is given.
fn is_documented(reason: ErrorReason) -> bool {
    let contract = include_str!("../../proto/token_authority/v1/error_reason.proto");
    let lines: Vec<_> = contract.lines().map(str::trim).collect();
    let defined = format!("{} = ", reason.as_str_name());
    let line = lines.iter().position(|line| line.starts_with(&defined)).expect("a reason of the contract");
    lines[line - 1].starts_with("// ")
}

async fn d5_each_attempt_is_in_the_audit_log_and_garbage_is_counted(server: &TestServer) {
    let login = server.login("ann", "phone").await;
    let mark = audit_log::mark();
    let next = server.refresh(&login.refresh_token).await.expect("refreshes");
    server.refresh(&login.refresh_token).await.expect_err("used just now");
    server.pass(LATER);
    server.refresh(&login.refresh_token).await.expect_err("used");
    server.refresh(&next.refresh_token).await.expect_err("ended");
    server.pass(WEEK);
    server.refresh(&next.refresh_token).await.expect_err("expired");
    let events = audit_log::since(mark, &server.realm());
    let told: Vec<_> = events.iter().map(|event| (text(event, "event"), text(event, "reason"))).collect();
    assert_eq!(
        told,
        [
            ("refreshed", ""),
            ("refused", "refresh_token_superseded"),
            ("session_ended", "replay"),
            ("refused", "refresh_token_replayed"),
            ("refused", "refresh_token_replayed"),
            ("refused", "refresh_token_expired"),
        ]
    );
    assert_eq!(text(&events[0], "session"), session(&login));
    let written = Value::from(events).to_string();
    for secret in [&login.refresh_token, &next.refresh_token, &next.access_token, &"ann".to_owned()] {
        assert!(!written.contains(secret.as_str()), "{secret}");
    }

    // What this authority never made fills no log, or anybody could.
    let garbage = || measured(server, |line| line.contains("count{") && line.contains("\"REFRESH_TOKEN_INVALID\""));
    let (before, mark) = (garbage().await, audit_log::mark());
    server.refresh("no token").await.expect_err("no token");
    assert_eq!((garbage().await - before, audit_log::since(mark, &server.realm())), (1, vec![]));
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_default()
}

fn source(server: &TestServer) -> TokenSourceBuilder {
    TokenSource::builder(to_authority(server)).realm(&server.realm()).clock(server.clock())
}

async fn generation(server: &TestServer, login: &v1::TokenPair) -> i64 {
    let request = v1::GetSessionRequest { realm: server.realm(), session_id: login.session_id.clone() };
    let answer = server.sessions.clone().get_session(request).await.expect("answers").into_inner();
    answer.session.expect("a session").generation
}

async fn d7_the_client_refreshes_five_minutes_ahead_queues_callers_and_retries_once(server: &TestServer) {
    let login = server.login("ann", "phone").await;
    let refreshing = source(server).start(login.clone()).await.expect("starts");
    // Five minutes ahead, give or take a tenth of the lifetime, so that not all clients come at once.
    for (ahead, refreshes) in [(7 * MINUTE, 0), (3 * MINUTE, 1)] {
        server.pass(expiry(&login).saturating_sub(ahead).saturating_sub(now(server)));
        refreshing.token().await.expect("a token");
        refreshing.finished().await;
        assert_eq!(generation(server, &login).await, refreshes, "{ahead:?} ahead");
    }

    // With the token at its end, all callers wait for one refresh.
    server.pass(15 * MINUTE);
    let mut callers = JoinSet::new();
    for _ in 0..200 {
        let source = refreshing.clone();
        callers.spawn(async move { source.token().await.expect("a token").expose().to_owned() });
    }
    let mut tokens = callers.join_all().await;
    tokens.dedup();
    assert_eq!((tokens.len(), generation(server, &login).await), (1, 2));

    // A request that a service refuses is sent once more, with the next token.
    let protected = Protected::start(server, "orders").await;
    let login = server.login("ann", "laptop").await;
    let patient = Backoff::new(Duration::ZERO, Duration::MAX);
    let attached = source(server).backoff(patient).start(login.clone()).await.expect("starts");
    let channel = ServiceBuilder::new().layer(AttachToken::new(attached)).service(protected.grpc.clone());
    let call = async || HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    call().await.expect("passes");
    let request = v1::UpdateSessionClaimsRequest {
        realm: server.realm(),
        session_id: login.session_id.clone(),
        claims: claims::given(&json!({ "role": "none" })),
        end_access_tokens: true,
    };
    server.sessions.clone().update_session_claims(request).await.expect("updates");
    call().await.expect("with the next token");
    assert_eq!(generation(server, &login).await, 1);

    let end = v1::RevokeSessionRequest { realm: server.realm(), session_id: login.session_id, ..Default::default() };
    server.sessions.clone().revoke_session(end).await.expect("revokes");
    while call().await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(call().await.expect_err("nothing helps").code(), Code::Unauthenticated);
}

fn expiry(tokens: &v1::TokenPair) -> Duration {
    Duration::from_secs(tokens.access_expire_time.unwrap().seconds.unsigned_abs())
}

fn now(server: &TestServer) -> Duration {
    use token_authority::clock::Clock as _;
    Duration::from_millis(server.clock().now().millis().unsigned_abs())
}

async fn d8_the_client_is_told_that_the_session_is_over(server: &TestServer) {
    let login = server.login("ann", "phone").await;
    let source = source(server).start(login.clone()).await.expect("starts");
    let mut over = source.over();
    assert_eq!(*over.borrow(), None);
    server.revoke(&login.refresh_token).await;
    server.pass(15 * MINUTE);
    let mark = audit_log::mark();
    let ended = SessionOver(ErrorReason::SessionEnded);
    assert_eq!(source.token().await, Err(NoToken::Over(ended)));
    assert_eq!(*over.wait_for(Option::is_some).await.expect("told"), Some(ended));
    for _ in 0..100 {
        server.pass(MINUTE);
        assert_eq!(source.token().await, Err(NoToken::Over(ended)));
    }
    assert_eq!(audit_log::since(mark, &server.realm()).len(), 1, "the authority was asked once");
}

async fn d9_expired_sessions_leave_nothing_behind(server: &TestServer) {
    let busy = apart(server).await;
    for number in 0..20 {
        let login = busy.login(&format!("user-{number}"), "phone").await;
        busy.refresh(&login.refresh_token).await.expect("refreshes");
    }
    kept::nothing_is_left_after(busy, WEEK).await;
}
