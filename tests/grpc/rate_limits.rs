//! Limits on how often a subject and an address may do what, and how a refusal says it.

use std::time::Duration;

use token_authority::domain::rate_limit::{RateLimit, RateLimits};
use token_authority::proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::test_server::{TestServer, refusal};

const MINUTE: Duration = Duration::from_secs(60);

fn limit(count: u32, period: Duration) -> Option<RateLimit> {
    RateLimit::new(count, period)
}

async fn start(limits: RateLimits) -> TestServer {
    TestServer::start_with(|policy| policy.rate_limits = limits).await
}

/// The limit that refused, and when to come again.
fn limited(status: &Status) -> (String, Duration) {
    assert_eq!(refusal(status), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    let quota = status.get_details_quota_failure().expect("a QuotaFailure");
    let [violation] = &quota.violations[..] else { panic!("one violation: {quota:?}") };
    assert!(!format!("{status:?}").contains("ann"), "{status:?}");
    let retry = status.get_details_retry_info().expect("a RetryInfo").retry_delay.expect("a delay");
    (violation.subject.clone(), retry)
}

/// How many changes the store was sent, and what `/metrics` says of the limits.
async fn measured(server: &TestServer) -> (u64, Vec<String>) {
    let answer = server.metrics().await;
    let commits = answer.lines().filter(|line| {
        line.starts_with("store_operation_duration_seconds_count{") && line.contains("operation=\"commit\"")
    });
    let number = |line: &str| line.rsplit_once(' ').and_then(|(_, number)| number.parse::<u64>().ok());
    let limits = answer.lines().filter(|line| line.starts_with("rate_limited_total") && !line.ends_with(" 0"));
    (commits.filter_map(number).sum(), limits.map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_of_a_subject_are_limited_and_a_refusal_says_when_to_come_again() {
    let server = start(RateLimits { refresh_by_subject: limit(3, MINUTE), ..RateLimits::default() }).await;
    let (mut tokens, first) = (server.login("ann", "phone").await, server.login("ann", "laptop").await);
    let mut spent = tokens.clone();
    for _ in 0..3 {
        spent = tokens;
        tokens = server.refresh(&spent.refresh_token).await.expect("within the limit");
    }
    let (before, _) = measured(&server).await;
    for token in [&tokens.refresh_token, &first.refresh_token, &tokens.refresh_token] {
        let refused = server.refresh(token).await.expect_err("too often");
        assert_eq!(limited(&refused), ("refresh_by_subject".to_owned(), Duration::from_secs(20)));
    }
    let again = server.refresh(&spent.refresh_token).await.expect("a lost answer is not one more");
    assert_eq!(again.refresh_token, tokens.refresh_token);
    let (after, limits) = measured(&server).await;
    assert_eq!(before, after, "a refusal is not written");
    assert_eq!(limits, ["rate_limited_total{limit=\"refresh_by_subject\"} 3"]);
    let bob = server.login("bob", "phone").await;
    server.refresh(&bob.refresh_token).await.expect("another subject");

    server.pass(Duration::from_millis(19_999));
    let refused = server.refresh(&tokens.refresh_token).await.expect_err("a millisecond too soon");
    assert_eq!(limited(&refused).1, Duration::from_millis(1));
    server.pass(Duration::from_millis(1));
    let next = server.refresh(&tokens.refresh_token).await.expect("as it was told");
    server.refresh(&next.refresh_token).await.expect_err("one was there again");
    let replayed = server.refresh(&spent.refresh_token).await.expect_err("a replay, whatever the limit");
    assert_eq!(refusal(&replayed).1, "REFRESH_TOKEN_REPLAYED");
    assert!(!server.introspect(&next.access_token).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_of_a_subject_are_limited_across_logouts_and_restarts() {
    let limits = RateLimits { issue_by_subject: limit(2, 30 * MINUTE), ..RateLimits::default() };
    let server = start(limits).await;
    for device in ["phone", "laptop"] {
        let tokens = server.login("ann", device).await;
        server.revoke(&tokens.refresh_token).await;
    }
    let login = || v1::IssueTokenRequest { subject: "ann".to_owned(), ..v1::IssueTokenRequest::default() };
    let refused = server.issue(login()).await.expect_err("too often");
    assert_eq!(limited(&refused), ("issue_by_subject".to_owned(), 15 * MINUTE));
    let without_session = v1::IssueTokenRequest { without_session: true, ..login() };
    server.issue(without_session).await.expect("no login");
    server.login("bob", "phone").await;
    let server =
        server.restart_configured(|config| config.realms.first_mut().expect("the realm").rate_limits = limits).await;
    assert_eq!(limited(&server.issue(login()).await.expect_err("too often")).1, 15 * MINUTE);
    server.pass(15 * MINUTE);
    server.issue(login()).await.expect("as it was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_limited_where_the_caller_tells_it() {
    let server = start(RateLimits { by_ip: limit(2, MINUTE), ..RateLimits::default() }).await;
    let device = |address: &str| v1::Device { ip_address: address.to_owned(), ..v1::Device::default() };
    let login = async |subject: &str, address: &str| {
        let (subject, device) = (subject.to_owned(), Some(device(address)));
        server.issue(v1::IssueTokenRequest { subject, device, ..v1::IssueTokenRequest::default() }).await
    };
    let tokens = login("bob", "2001:db8::1").await.expect("the first");
    let refresh = |address: &str| v1::RefreshTokenRequest {
        refresh_token: tokens.refresh_token.clone(),
        device: Some(device(address)),
        ..v1::RefreshTokenRequest::default()
    };
    server.tokens.clone().refresh_token(refresh("2001:db8::2")).await.expect("the second");
    let (before, _) = measured(&server).await;
    let refused = server.tokens.clone().refresh_token(refresh("2001:db8::1")).await.expect_err("the third");
    assert_eq!(limited(&refused), ("by_ip".to_owned(), 30 * Duration::from_secs(1)));
    limited(&login("ann", "2001:db8::3").await.expect_err("the third"));
    let (after, limits) = measured(&server).await;
    assert_eq!((before, limits), (after, vec!["rate_limited_total{limit=\"by_ip\"} 2".to_owned()]));
    login("ann", "2001:db9::1").await.expect("another address");
    for _ in 0..3 {
        login("ann", "").await.expect("no address is known");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_limited_whatever_it_calls() {
    let server = start(RateLimits { by_caller: limit(3, MINUTE), ..RateLimits::default() }).await;
    let tokens = server.login("ann", "phone").await;
    server.introspect(&tokens.access_token).await;
    server.sessions_of("ann").await;
    let refused = server.refresh(&tokens.refresh_token).await.expect_err("the fourth");
    assert_eq!(limited(&refused), ("by_caller".to_owned(), 20 * Duration::from_secs(1)));
    let jwks = server.tokens.clone().get_jwks(v1::GetJwksRequest::default()).await;
    jwks.expect("what anybody may read");
    server.pass(20 * Duration::from_secs(1));
    server.refresh(&tokens.refresh_token).await.expect("as it was told");
}
