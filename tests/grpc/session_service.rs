//! `SessionService` over real tonic: listing, ending one session or all.

use token_authority::proto::v1;
use tonic::Code;

use crate::test_server::{TestServer, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_in_pages_with_their_devices() {
    let server = TestServer::start().await;
    for device in ["phone", "laptop", "tv"] {
        server.login("ann", device).await;
    }
    server.login("bob", "phone").await;
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListSessionsRequest { subject: "ann".into(), page_size: 2, page_token, ..Default::default() };
        let page = server.sessions.clone().list_sessions(request).await.expect("lists").into_inner();
        seen.extend(page.sessions.into_iter().map(|session| session.device.expect("a device").device_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["tv", "laptop", "phone"], "newest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_in_again_on_a_device_ends_the_session_it_had() {
    let server = TestServer::start().await;
    let first = server.login("ann", "phone").await;
    let second = server.login("ann", "phone").await;
    assert_eq!(server.sessions_of("ann").await.len(), 1);
    assert!(!server.introspect(&first.access_token).await.active);
    assert!(server.introspect(&second.access_token).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_is_ended_and_the_others_live() {
    let server = TestServer::start().await;
    let (phone, laptop) = (server.login("ann", "phone").await, server.login("ann", "laptop").await);
    let request = v1::RevokeSessionRequest { session_id: phone.session_id, ..Default::default() };
    let revision =
        server.sessions.clone().revoke_session(request.clone()).await.expect("revokes").into_inner().revision;
    assert!(!revision.is_empty());
    server.sessions.clone().revoke_session(request).await.expect("idempotent");
    assert!(!server.introspect(&phone.access_token).await.active);
    assert!(server.introspect(&laptop.access_token).await.active);

    let fresh = v1::IntrospectTokenRequest {
        token: laptop.access_token,
        consistency: Some(v1::Consistency {
            requirement: Some(v1::consistency::Requirement::AtLeastAsFresh(revision)),
        }),
        ..Default::default()
    };
    assert!(server.tokens.clone().introspect_token(fresh).await.expect("fresh enough").into_inner().active);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_but_one_are_ended_in_one_call() {
    let server = TestServer::start().await;
    let kept = server.login("ann", "phone").await;
    for device in ["laptop", "tv"] {
        server.login("ann", device).await;
    }
    let request = |except: &str| v1::RevokeAllSessionsRequest {
        subject: "ann".into(),
        except_session_id: except.into(),
        ..Default::default()
    };
    let mut client = server.sessions.clone();
    let answer = client.revoke_all_sessions(request(&kept.session_id)).await.expect("revokes").into_inner();
    assert_eq!(answer.revoked_count, 2);
    assert!(server.introspect(&kept.access_token).await.active);
    let answer = client.revoke_all_sessions(request("")).await.expect("revokes").into_inner();
    assert_eq!(answer.revoked_count, 1);
    assert!(server.sessions_of("ann").await.is_empty());

    let other = server.login("bob", "phone").await;
    let foreign = client.revoke_all_sessions(request(&other.session_id)).await.expect_err("another subject's");
    assert_eq!(refusal(&foreign), (Code::InvalidArgument, "INVALID_REQUEST".into()));
    let malformed = v1::RevokeSessionRequest { session_id: "nonsense".into(), ..Default::default() };
    let malformed = client.revoke_session(malformed).await.expect_err("malformed");
    assert_eq!(refusal(&malformed), (Code::InvalidArgument, "INVALID_REQUEST".into()));
}
