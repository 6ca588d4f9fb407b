//! The idle timeout: which inactivity ends a session, and what is activity.

use std::time::Duration;

use token_authority::proto::v1;

use crate::test_server::{TestServer, refusal};

const MINUTE: Duration = Duration::from_secs(60);

/// Half an hour of inactivity ends a session, and an access token would live for an hour.
async fn start() -> TestServer {
    TestServer::start_with(|policy| {
        policy.idle_timeout = Some(30 * MINUTE);
        policy.access_lifetime = 60 * MINUTE;
    })
    .await
}

/// When the subject's one session ends unless it is used, in seconds.
async fn idle_expiry(server: &TestServer, subject: &str) -> i64 {
    let [session] = &server.sessions_of(subject).await[..] else { panic!("one session") };
    session.idle_expire_time.expect("an idle limit").seconds
}

/// Waits until the subject's session ends this much later than it did: touches are written behind the answers.
async fn slides(server: &TestServer, subject: &str, before: i64, by: Duration) {
    let wanted = before + i64::try_from(by.as_secs()).expect("short");
    let slid = async {
        while idle_expiry(server, subject).await != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), slid).await.expect("the touch is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_29_minutes_without_activity_and_is_dead_after_31() {
    let server = start().await;
    let (used, unused) = (server.login("ann", "phone").await, server.login("bob", "phone").await);
    server.pass(29 * MINUTE);
    let used = server.refresh(&used.refresh_token).await.expect("29 minutes are not too long");
    server.pass(2 * MINUTE);
    assert!(!server.introspect(&unused.access_token).await.active, "it had half an hour left");
    assert_eq!(refusal(&server.refresh(&unused.refresh_token).await.expect_err("idle")).1, "SESSION_IDLE");
    assert!(server.introspect(&used.access_token).await.active);
    assert_eq!(server.sessions_of("bob").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_checked_keeps_its_session_and_not_itself() {
    let server = start().await;
    let tokens = server.login("ann", "phone").await;
    let before = idle_expiry(&server, "ann").await;
    server.pass(20 * MINUTE);
    assert!(server.introspect(&tokens.access_token).await.active);
    slides(&server, "ann", before, 20 * MINUTE).await;
    server.pass(9 * MINUTE);
    let batch = v1::BatchIntrospectTokensRequest { tokens: vec![tokens.access_token.clone()], ..Default::default() };
    let answers = server.tokens.clone().batch_introspect_tokens(batch).await.expect("answers").into_inner();
    assert!(answers.results[0].active);
    slides(&server, "ann", before, 29 * MINUTE).await;
    server.pass(2 * MINUTE);
    assert!(!server.introspect(&tokens.access_token).await.active, "it was issued for as long as the session had");
    server.pass(27 * MINUTE);
    server.refresh(&tokens.refresh_token).await.expect("29 minutes after its last use");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_use_revives_a_session_and_none_outlives_its_end() {
    let server = TestServer::start_with(|policy| {
        policy.idle_timeout = Some(30 * MINUTE);
        policy.session_lifetime = 40 * MINUTE;
    })
    .await;
    let tokens = server.login("ann", "phone").await;
    let before = idle_expiry(&server, "ann").await;
    server.pass(14 * MINUTE);
    assert!(server.introspect(&tokens.access_token).await.active);
    slides(&server, "ann", before, 10 * MINUTE).await;
    server.pass(26 * MINUTE);
    let over = server.refresh(&tokens.refresh_token).await.expect_err("over");
    assert_eq!(refusal(&over).1, "REFRESH_TOKEN_EXPIRED");
}
