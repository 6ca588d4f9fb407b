//! A session kept going: one refresh for all, the same token after a lost answer, and silence once it
//! is over.

use std::time::Duration;

use token_authority::client::{Backoff, FileStorage, NoToken, SessionOver, TokenSource, TokenSourceBuilder};
use token_authority::proto::v1;
use token_authority::proto::v1::ErrorReason;
use tokio::task::JoinSet;
use tonic::Code;

use super::relay::{Fault, Relay, until};

/// Short pauses between attempts; ten seconds of the server's clock after a failure.
fn builder(relay: &Relay) -> TokenSourceBuilder {
    TokenSource::builder(relay.channel.clone()).clock(relay.clock())
}

fn impatient(relay: &Relay) -> TokenSourceBuilder {
    builder(relay).backoff(Backoff::new(Duration::from_millis(1), Duration::from_millis(2)))
}

/// To the end of the access token.
const EXPIRY: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_at_expiry_cause_one_refresh() {
    let relay = Relay::start().await;
    let first = relay.login().await;
    let source = builder(&relay).start(first.clone()).await.expect("starts");
    relay.server.pass(EXPIRY);
    relay.close_gate();
    let mut callers = JoinSet::new();
    for _ in 0..1_000 {
        let source = source.clone();
        callers.spawn(async move { source.token().await.expect("a token").expose().to_owned() });
    }
    until(|| !relay.refreshes().is_empty()).await;
    relay.open_gate();
    let mut tokens = callers.join_all().await;
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "all have the same token");
    assert_ne!(tokens[0], first.access_token);
    assert!(relay.server.introspect(&tokens[0]).await.active);
    assert_eq!(relay.refreshes(), [first.refresh_token]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_while_a_token_is_valid() {
    let relay = Relay::start().await;
    let first = relay.login().await;
    let source = builder(&relay).start(first.clone()).await.expect("starts");
    relay.server.pass(Duration::from_secs(400));
    assert_eq!(source.token().await.expect("a token").expose(), first.access_token);
    assert!(relay.refreshes().is_empty(), "it is too early");

    relay.close_gate();
    relay.server.pass(Duration::from_secs(300));
    for _ in 0..10 {
        // The refresh can't end before the gate is open: who waited for it would wait for ever.
        assert_eq!(source.token().await.expect("a token").expose(), first.access_token);
    }
    relay.open_gate();
    source.finished().await;
    assert_ne!(source.token().await.expect("a token").expose(), first.access_token);
    assert_eq!(relay.refreshes(), [first.refresh_token], "ahead of the end, and once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_with_the_same_token() {
    let relay = Relay::start().await;
    let first = relay.login().await;
    let source = impatient(&relay).start(first.clone()).await.expect("starts");
    relay.server.pass(EXPIRY);
    relay.fail_refreshes([Fault::AnswerLost, Fault::NotSent, Fault::AnswerLost]);
    let token = source.token().await.expect("a token");
    assert_eq!(relay.refreshes(), vec![first.refresh_token; 4]);
    assert!(relay.server.introspect(token.expose()).await.active, "no replay was seen");
    relay.server.pass(EXPIRY);
    source.token().await.expect("the session lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_borne_and_not_hammered_at() {
    let relay = Relay::start().await;
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(10));
    let first = relay.login().await;
    let source = builder(&relay).backoff(backoff).start(first.clone()).await.expect("starts");
    relay.fail_refreshes([Fault::NotSent; 10]);
    relay.server.pass(Duration::from_secs(700));
    source.token().await.expect("still valid");
    source.finished().await;
    for _ in 0..100 {
        source.token().await.expect("still valid");
    }
    assert_eq!(relay.refreshes().len(), 5, "five attempts, then a pause");
    relay.server.pass(Duration::from_secs(200));
    for _ in 0..100 {
        assert_eq!(source.token().await, Err(NoToken::Unavailable(Code::Unavailable)));
    }
    assert_eq!(relay.refreshes(), vec![first.refresh_token; 10]);
    assert_eq!(*source.over().borrow(), None);
    relay.server.pass(Duration::from_secs(10));
    source.token().await.expect("after the pause it is tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_session_is_over_the_listener_is_told_and_nothing_more_is_called() {
    let relay = Relay::start().await;
    let first = relay.login().await;
    let source = builder(&relay).start(first.clone()).await.expect("starts");
    let mut over = source.over();
    relay.server.revoke(&first.refresh_token).await;
    relay.server.pass(EXPIRY);
    let ended = SessionOver(ErrorReason::SessionEnded);
    assert_eq!(source.token().await, Err(NoToken::Over(ended)));
    assert_eq!(*over.wait_for(Option::is_some).await.expect("the source lives"), Some(ended));
    for _ in 0..100 {
        relay.server.pass(Duration::from_secs(60));
        assert_eq!(source.token().await, Err(NoToken::Over(ended)));
    }
    assert_eq!(relay.refreshes().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_from_its_file() {
    let relay = Relay::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let storage = || FileStorage::new(directory.path().join("session"));
    assert!(builder(&relay).storage(storage()).resume().await.expect("reads").is_none());
    let first = relay.login().await;
    let source = builder(&relay).storage(storage()).start(first.clone()).await.expect("starts");
    relay.server.pass(EXPIRY);
    source.token().await.expect("a token");
    drop(source);

    let resumed = builder(&relay).storage(storage()).resume().await.expect("reads").expect("a session");
    let token = resumed.token().await.expect("a token");
    assert!(relay.server.introspect(token.expose()).await.active);
    assert_eq!(relay.refreshes()[0], first.refresh_token);
    assert_ne!(relay.refreshes()[1], first.refresh_token, "the second is the successor");

    let all = v1::RevokeAllSessionsRequest { subject: "ann".into(), ..Default::default() };
    relay.server.sessions.clone().revoke_all_sessions(all).await.expect("revokes");
    relay.server.pass(EXPIRY);
    resumed.token().await.expect_err("over");
    assert!(builder(&relay).storage(storage()).resume().await.expect("reads").is_none(), "nothing is left");
}
