//! Two servers on one Redis are one authority: whichever is asked, a generation has one successor, and
//! what one ends is ended at the other.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;

use crate::test_server::TestServer;

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
