//! Revocation (RFC 7009).

use crate::realm::Realm;

#[tokio::test(flavor = "multi_thread")]
async fn revoking_any_token_of_a_chain_ends_the_chain_and_once_more_is_no_error() {
    let realm = Realm::start().await;
    for hint in ["access_token", "refresh_token", "nonsense"] {
        let (by_access, by_refresh, lives) =
            (realm.login("ann").await, realm.login("ann").await, realm.login("ann").await);
        for (token, other) in
            [(&by_access.access_token, &by_access.refresh_token), (&by_refresh.refresh_token, &by_refresh.access_token)]
        {
            for _ in 0..2 {
                let answer = realm.post("app", "revoke", &[("token", token), ("token_type_hint", hint)]).await;
                assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{hint}");
                assert_eq!(answer.header("cache-control"), Some("no-store"));
            }
            assert!(!realm.is_active(token).await && !realm.is_active(other).await, "{hint}");
        }
        assert!(realm.is_active(&lives.access_token).await, "another session lives");
    }
    assert_eq!(realm.post("app", "revoke", &[("token", "unknown")]).await.status, 200);
    assert_eq!(realm.post("app", "revoke", &[]).await.refusal(), (400, "invalid_request".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_ends_its_own_tokens_unless_it_has_the_role() {
    let realm = Realm::start().await;
    let tokens = realm.login("ann").await;
    for token in [&tokens.access_token, &tokens.refresh_token] {
        let refused = realm.post("gateway", "revoke", &[("token", token)]).await.refusal();
        assert_eq!(refused, (400, "unauthorized_client".to_owned()));
        assert!(realm.is_active(&tokens.access_token).await);
    }
    assert_eq!(realm.post("ender", "revoke", &[("token", &tokens.refresh_token)]).await.status, 200);
    assert!(!realm.is_active(&tokens.access_token).await);
}

/// What it was exchanged for is another client's.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchanged_token_ends_alone() {
    let realm = Realm::start().await;
    let login = realm.login("ann").await;
    let token = &realm.exchange(&login.access_token).await;
    assert!(realm.is_active(token).await);
    assert_eq!(realm.post("gateway", "revoke", &[("token", token)]).await.status, 200);
    assert!(!realm.is_active(token).await);
    assert!(realm.is_active(&login.access_token).await, "the session is the app's");
}
