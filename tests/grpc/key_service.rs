//! Keys over the wire: seen, hurried, corrected, and watched while they rotate by themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::policy::RealmPolicy;
use token_authority::proto::v1;
use token_authority::proto::v1::KeyState;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::test_server::{TestServer, refusal};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn quick(policy: &mut RealmPolicy) {
    policy.algorithm = Algorithm::EdDsa;
}

async fn keys(server: &TestServer, state: KeyState) -> Vec<String> {
    let request = v1::ListKeysRequest { state: state.into(), ..v1::ListKeysRequest::default() };
    let listed = server.keys.clone().list_keys(request).await.expect("lists").into_inner();
    listed.keys.into_iter().map(|key| key.key_id).collect()
}

async fn activate(server: &TestServer, key_id: &str, immediate: bool) -> Result<v1::Key, Status> {
    let request = v1::ActivateKeyRequest { realm: String::new(), key_id: key_id.to_owned(), immediate };
    Ok(server.keys.clone().activate_key(request).await?.into_inner().key.expect("a key"))
}

async fn revoke(server: &TestServer, key_id: &str) -> Result<v1::RevokeKeyResponse, Status> {
    let (realm, key_id, reason) = (String::new(), key_id.to_owned(), "leaked".to_owned());
    Ok(server.keys.clone().revoke_key(v1::RevokeKeyRequest { realm, key_id, reason }).await?.into_inner())
}

async fn retire(server: &TestServer, key_id: &str) -> Result<v1::Key, Status> {
    let request = v1::RetireKeyRequest { realm: String::new(), key_id: key_id.to_owned() };
    Ok(server.keys.clone().retire_key(request).await?.into_inner().key.expect("a key"))
}

fn kid(token: &str) -> String {
    use base64::Engine as _;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a part"));
    let header: serde_json::Value = serde_json::from_slice(&header.expect("base64url")).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_when_it_was_published_for_long_enough() {
    let server = TestServer::start_with(quick).await;
    let (active, standby) = (keys(&server, KeyState::Active).await, keys(&server, KeyState::Prepared).await);
    assert_eq!((active.len(), standby.len()), (1, 1));
    let before = server.login("alice", "phone").await;
    assert_eq!(kid(&before.access_token), active[0]);

    let conflict = (Code::FailedPrecondition, "KEY_STATE_CONFLICT".to_owned());
    server.pass(59 * MINUTE);
    assert_eq!(refusal(&activate(&server, "", false).await.expect_err("too early")), conflict);
    assert_eq!(refusal(&retire(&server, &active[0]).await.expect_err("the only one")), conflict);
    let unknown = (Code::NotFound, "UNKNOWN_KEY".to_owned());
    for name in ["nonsense", "no/kid", &"k".repeat(100)] {
        assert_eq!(refusal(&activate(&server, name, true).await.expect_err("none")), unknown);
        assert_eq!(refusal(&retire(&server, name).await.expect_err("none")), unknown);
        assert_eq!(refusal(&revoke(&server, name).await.expect_err("none")), unknown);
    }
    server.pass(MINUTE);
    let key = activate(&server, "", false).await.expect("an hour has passed");
    assert_eq!((&key.key_id, key.state()), (&standby[0], KeyState::Active));
    assert_eq!(activate(&server, &standby[0], false).await.expect("the same again"), key);
    assert_eq!(refusal(&activate(&server, &active[0], true).await.expect_err("it has signed")), conflict);

    let retired = retire(&server, &active[0]).await.expect("it signs no more anyway");
    assert_eq!(retired.state(), KeyState::Retiring);
    assert!(retired.retire_time.is_some() && retired.remove_time.is_some());
    let after = server.login("alice", "laptop").await;
    assert_eq!(kid(&after.access_token), standby[0]);
    let before = server.refresh(&before.refresh_token).await.expect("refreshes");
    assert_eq!(kid(&before.access_token), standby[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_tokens_and_not_their_sessions() {
    let server = TestServer::start_with(quick).await;
    let pair = server.login("alice", "phone").await;
    let other = server.login("bob", "phone").await;
    let revoked = revoke(&server, &kid(&pair.access_token)).await.expect("revokes");
    assert_eq!(revoked.key.expect("the key").state(), KeyState::Revoked);
    assert!(
        !server.introspect(&pair.access_token).await.active && !server.introspect(&other.access_token).await.active
    );
    let set = server.tokens.clone().get_jwks(v1::GetJwksRequest::default()).await.expect("answers").into_inner();
    assert!(set.keys.iter().all(|key| key.kid != kid(&pair.access_token)));

    let next = server.refresh(&pair.refresh_token).await.expect("the session lives on");
    assert_ne!(kid(&next.access_token), kid(&pair.access_token));
    assert!(server.introspect(&next.access_token).await.active);
    let again = revoke(&server, &kid(&pair.access_token)).await.expect("idempotent");
    assert!(!again.revision.is_empty());
    let server = server.restart().await;
    assert!(!server.introspect(&other.access_token).await.active, "remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_makes_one_key_and_lists_have_pages() {
    let server = TestServer::start_with(quick).await;
    let prepare = |id: &str, algorithm: &str| {
        let (realm, algorithm, request_id) = (String::new(), algorithm.to_owned(), id.to_owned());
        let mut client = server.keys.clone();
        async move {
            let answer = client.prepare_key(v1::PrepareKeyRequest { realm, algorithm, request_id }).await?;
            Ok::<_, Status>(answer.into_inner().key.expect("a key").key_id)
        }
    };
    let first = prepare("once", "").await.expect("a key");
    assert_eq!(prepare("once", "").await.expect("the same"), first);
    let reused = prepare("once", "EdDSA").await.expect_err("another request");
    assert_eq!(refusal(&reused), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
    for algorithm in ["ES256", "none", "RS512"] {
        let refused = prepare("", algorithm).await.expect_err("not of this realm");
        assert_eq!(refusal(&refused), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()), "{algorithm}");
    }
    let second = prepare("", "EdDSA").await.expect("a key");

    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListKeysRequest { page_size: 1, page_token, ..v1::ListKeysRequest::default() };
        let page = server.keys.clone().list_keys(request).await.expect("lists").into_inner();
        assert_eq!(page.keys.len(), 1);
        listed.extend(page.keys.into_iter().map(|key| key.key_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((listed.len(), &listed[..2]), (4, &[second, first][..]), "newest first");
}

/// A set at once, one at each change, and the last word of a server that stops.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_a_rotation_as_it_happens() {
    let server = TestServer::start_with(quick).await;
    let mut sets = server.tokens.clone().watch_jwks(v1::WatchJwksRequest::default()).await.expect("opens").into_inner();
    let mut next = async || {
        let set = tokio::time::timeout(Duration::from_secs(20), sets.next()).await.expect("in time");
        let set = set.expect("goes on").expect("a set");
        let json: serde_json::Value = serde_json::from_slice(&set.jwks_json).expect("JSON");
        assert_eq!(json["keys"].as_array().expect("a list").len(), set.keys.len());
        set.keys.into_iter().map(|key| key.kid).collect::<BTreeSet<_>>()
    };
    let (old, successor) = (keys(&server, KeyState::Active).await, keys(&server, KeyState::Prepared).await);
    let first = next().await;
    assert_eq!(first, old.iter().chain(&successor).cloned().collect());

    // Two hours before the end of its lifetime the successor gets its date, and the next standby is made.
    server.pass(90 * DAY - 120 * MINUTE);
    let scheduled = next().await;
    assert!(scheduled.is_superset(&first) && scheduled.len() == 3);
    assert_eq!(kid(&server.login("alice", "phone").await.access_token), old[0]);
    server.pass(120 * MINUTE);
    let token = server.login("alice", "phone").await.access_token;
    assert_eq!(kid(&token), successor[0], "on time, without another step");
    assert!(server.introspect(&token).await.active);
    server.pass(30 * MINUTE);
    let removed = next().await;
    assert!(!removed.contains(&old[0]) && removed.len() == 2);

    server.stop().await;
    let last = tokio::time::timeout(Duration::from_secs(20), sets.next()).await.expect("in time").expect("a last word");
    assert_eq!(last.expect_err("ended").code(), Code::Unavailable);
}
