//! Two servers on one Redis are one authority: whichever is asked, a generation has one successor, and
//! what one ends is ended at the other.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use token_authority::config::Config;
use token_authority::domain::policy::AtLimit;
use token_authority::proto::v1;
use token_authority::proto::v1::consistency::Requirement;

use crate::test_server::{TestServer, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_refreshes_at_both_never_fork() {
    let one = TestServer::start().await;
    let other = one.beside().await;
    let mut pair = one.login("alice", "phone").await;
    let mut refreshes = 0;
    for _ in 0..10 {
        let servers = [&one, &other].into_iter().cycle().take(8);
        let answers = join_all(servers.map(|server| server.refresh(&pair.refresh_token))).await;
        let pairs: Vec<_> = answers.into_iter().map(|answer| answer.expect("refreshed")).collect();
        refreshes += pairs.len();
        let successors: HashSet<_> = pairs.iter().map(|pair| (&pair.refresh_token, &pair.access_token)).collect();
        assert_eq!(successors.len(), 1, "a fork");
        pair = pairs.into_iter().next().expect("a pair");
    }
    println!("{refreshes} concurrent refreshes at two servers, no fork");
    assert!(other.introspect(&pair.access_token).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_the_other_server() {
    let one = TestServer::start().await;
    let other = one.beside().await;
    let pair = one.login("bob", "phone").await;
    assert!(other.introspect(&pair.access_token).await.active);
    one.revoke(&pair.refresh_token).await;
    assert!(!one.introspect(&pair.access_token).await.active);
    let told = async {
        while other.introspect(&pair.access_token).await.active {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.expect("told in time");
    assert!(other.refresh(&pair.refresh_token).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_parallel_logins_at_both_exactly_five_live_for_each_answer() {
    for at_limit in [AtLimit::Refuse, AtLimit::EvictOldest, AtLimit::EvictIdlest] {
        let limit = |config: &mut Config| (config.realms[0].max_sessions, config.realms[0].at_limit) = (5, at_limit);
        let one = TestServer::start_configured(limit).await;
        let other = one.beside_configured(limit).await;
        let logins = (0..100).map(|number: u8| {
            let server = if number % 2 == 0 { &one } else { &other };
            server.issue(v1::IssueTokenRequest { subject: "alice".to_owned(), ..Default::default() })
        });
        let answers = join_all(logins).await;
        let answered: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        let refused: Vec<_> = refused.map(|status| refusal(status).1).collect();
        println!("{at_limit:?}: {} answered, {} refused", answered.len(), refused.len());
        assert!(
            refused.iter().all(|reason| reason == "SESSION_LIMIT_REACHED" || reason == "OVERLOADED"),
            "{refused:?}"
        );
        let expected = if at_limit == AtLimit::Refuse { 5..=5 } else { 5..=100 };
        assert!(expected.contains(&answered.len()));
        let listed: HashSet<_> = one.sessions_of("alice").await.into_iter().map(|session| session.session_id).collect();
        assert_eq!(listed.len(), 5);
        for pair in answered {
            let consistency = Some(v1::Consistency { requirement: Some(Requirement::FullyConsistent(true)) });
            let request =
                v1::IntrospectTokenRequest { token: pair.access_token.clone(), consistency, ..Default::default() };
            for server in [&one, &other] {
                let seen = server.tokens.clone().introspect_token(request.clone()).await.expect("answers").into_inner();
                assert_eq!(seen.active, listed.contains(&pair.session_id));
            }
        }
    }
}

/// The other server signs with what took over, before it has read the keys again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_at_the_other_server() {
    let one = TestServer::start().await;
    let other = one.beside().await;
    let pair = other.login("carol", "phone").await;
    let active = v1::ListKeysRequest { state: v1::KeyState::Active.into(), ..v1::ListKeysRequest::default() };
    let key_id = one.keys.clone().list_keys(active).await.expect("lists").into_inner().keys.remove(0).key_id;
    let request = v1::RevokeKeyRequest { key_id: key_id.clone(), ..v1::RevokeKeyRequest::default() };
    let revision = one.keys.clone().revoke_key(request).await.expect("revokes").into_inner().revision;

    let as_fresh = Requirement::AtLeastAsFresh(revision);
    let consistency = Some(v1::Consistency { requirement: Some(as_fresh) });
    let request = v1::IntrospectTokenRequest { token: pair.access_token, consistency, ..Default::default() };
    assert!(!other.tokens.clone().introspect_token(request).await.expect("answers").into_inner().active);
    let next = other.refresh(&pair.refresh_token).await.expect("the session lives on");
    assert!(other.introspect(&next.access_token).await.active && one.introspect(&next.access_token).await.active);
    let set = other.tokens.clone().get_jwks(v1::GetJwksRequest::default()).await.expect("answers").into_inner();
    assert!(set.keys.iter().all(|key| key.kid != key_id));
}
