//! What a realm's policy changes: limits, lifetimes, rotation, recovery, repeated logins.

use std::time::Duration;

use token_authority::domain::policy::{AtLimit, LateRecovery, Rotation};
use token_authority::domain::revocation::Revision;
use token_authority::proto::v1;
use tonic::Code;

use crate::test_server::{TestServer, refusal};

fn login(subject: &str) -> v1::IssueTokenRequest {
    v1::IssueTokenRequest { subject: subject.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_parallel_logins_exactly_five_live_for_each_answer() {
    for at_limit in [AtLimit::Refuse, AtLimit::EvictOldest, AtLimit::EvictIdlest] {
        let server = TestServer::start_with(|policy| {
            policy.max_sessions = 5;
            policy.at_limit = at_limit;
        })
        .await;
        let answers = futures::future::join_all((0..100).map(|_| server.issue(login("ann")))).await;
        let mut active = 0;
        for answer in &answers {
            match answer {
                Ok(tokens) => active += usize::from(server.introspect(&tokens.access_token).await.active),
                Err(status) => assert_eq!(refusal(status), (Code::ResourceExhausted, "SESSION_LIMIT_REACHED".into())),
            }
        }
        let issued = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(issued, if at_limit == AtLimit::Refuse { 5 } else { 100 }, "{at_limit:?}");
        assert_eq!((active, server.sessions_of("ann").await.len()), (5, 5), "{at_limit:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oldest_and_idlest_are_different_sessions() {
    for (at_limit, gone) in [(AtLimit::EvictOldest, "first"), (AtLimit::EvictIdlest, "second")] {
        let server = TestServer::start_with(|policy| {
            policy.max_sessions = 2;
            policy.at_limit = at_limit;
        })
        .await;
        let first = server.login("ann", "first").await;
        server.pass(Duration::from_secs(60));
        server.login("ann", "second").await;
        server.pass(Duration::from_secs(60));
        server.refresh(&first.refresh_token).await.expect("refreshes");
        server.login("ann", "third").await;
        let devices: Vec<_> =
            server.sessions_of("ann").await.into_iter().filter_map(|session| Some(session.device?.device_id)).collect();
        assert!(devices.len() == 2 && !devices.contains(&gone.to_owned()), "{at_limit:?}: {devices:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_session_lives_longer() {
    let server = TestServer::start().await;
    for (remember_me, days) in [(false, 7), (true, 30)] {
        let tokens = server.issue(v1::IssueTokenRequest { remember_me, ..login("ann") }).await.expect("issues");
        let issued = server.introspect(&tokens.access_token).await.issue_time.expect("iat").seconds;
        assert_eq!(tokens.refresh_expire_time.expect("a time").seconds - issued, days * 86_400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_login_answers_the_same_session_for_ten_minutes() {
    let server = TestServer::start().await;
    let request = v1::IssueTokenRequest { request_id: "login-1".into(), ..login("ann") };
    let first = server.issue(request.clone()).await.expect("issues");
    server.pass(Duration::from_secs(599));
    assert_eq!(server.issue(request.clone()).await.expect("again"), first);
    let other = v1::IssueTokenRequest { scope: vec!["read".into()], ..request.clone() };
    let reused = server.issue(other).await.expect_err("other content");
    assert_eq!(refusal(&reused), (Code::InvalidArgument, "REQUEST_ID_REUSED".into()));
    server.pass(Duration::from_secs(2));
    assert_ne!(server.issue(request.clone()).await.expect("a new one").session_id, first.session_id);

    let parallel = v1::IssueTokenRequest { request_id: "login-2".into(), ..login("bob") };
    let answers = futures::future::join_all((0..32).map(|_| server.issue(parallel.clone()))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().expect("issues") == answers[0].as_ref().expect("issues")));
    assert_eq!(server.sessions_of("bob").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rotation_the_refresh_token_stays() {
    let server = TestServer::start_with(|policy| policy.rotation = Rotation::Off).await;
    let first = server.login("ann", "phone").await;
    let mut seen = vec![server.introspect(&first.access_token).await.token_id];
    for _ in 0..3 {
        server.pass(Duration::from_secs(100));
        let next = server.refresh(&first.refresh_token).await.expect("refreshes");
        assert_eq!(next.refresh_token, first.refresh_token);
        let token_id = server.introspect(&next.access_token).await.token_id;
        assert!(!seen.contains(&token_id));
        seen.push(token_id);
    }
    server.revoke(&first.access_token).await;
    assert_eq!(refusal(&server.refresh(&first.refresh_token).await.expect_err("ended")).1, "SESSION_ENDED");
}

fn bound_to(thumbprint: char) -> Option<v1::Confirmation> {
    let jkt = format!("{}A", thumbprint.to_string().repeat(42));
    Some(v1::Confirmation { thumbprint: Some(v1::confirmation::Thumbprint::JwkThumbprint(jkt)) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_session_takes_its_own_key_and_recovers_late_where_the_realm_allows() {
    for (recovery, recovers) in [(LateRecovery::No, false), (LateRecovery::WithBoundKey, true)] {
        let server = TestServer::start_with(|policy| policy.late_recovery = recovery).await;
        let request = v1::IssueTokenRequest { confirmation: bound_to('a'), ..login("ann") };
        let first = server.issue(request).await.expect("issues");
        assert_eq!(server.introspect(&first.access_token).await.confirmation, bound_to('a'));
        let present = |confirmation| v1::RefreshTokenRequest {
            refresh_token: first.refresh_token.clone(),
            confirmation,
            ..Default::default()
        };
        let mut client = server.tokens.clone();
        for confirmation in [None, bound_to('b')] {
            let refused = client.refresh_token(present(confirmation)).await.expect_err("another key");
            assert_eq!(refusal(&refused), (Code::InvalidArgument, "CLIENT_MISMATCH".into()));
        }
        client.refresh_token(present(bound_to('a'))).await.expect("its own key; the answer is lost");
        server.pass(Duration::from_secs(3_600));
        let late = client.refresh_token(present(bound_to('a'))).await;
        assert_eq!(late.is_ok(), recovers, "{recovery:?}");
        assert_eq!(server.sessions_of("ann").await.len(), usize::from(recovers), "{recovery:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_claims_take_effect_at_the_next_refresh_or_at_once() {
    use prost_types::value::Kind;
    let role = |role: &str| {
        let value = prost_types::Value { kind: Some(Kind::StringValue(role.to_owned())) };
        Some(prost_types::Struct { fields: [("role".to_owned(), value)].into() })
    };
    let server = TestServer::start().await;
    let first = server.issue(v1::IssueTokenRequest { claims: role("user"), ..login("ann") }).await.expect("issues");
    let update = |claims, end_access_tokens| v1::UpdateSessionClaimsRequest {
        session_id: first.session_id.clone(),
        claims,
        end_access_tokens,
        ..Default::default()
    };
    let mut sessions = server.sessions.clone();
    sessions.update_session_claims(update(role("admin"), false)).await.expect("updates");
    assert_eq!(server.introspect(&first.access_token).await.claims, role("user"));
    let second = server.refresh(&first.refresh_token).await.expect("refreshes");
    assert_eq!(server.introspect(&second.access_token).await.claims, role("admin"));

    sessions.update_session_claims(update(role("guest"), true)).await.expect("updates");
    for access in [&first.access_token, &second.access_token] {
        assert!(!server.introspect(access).await.active);
    }
    let repeated = server.refresh(&first.refresh_token).await.expect("the lost answer");
    assert!(!server.introspect(&repeated.access_token).await.active, "what was ended stays ended");
    let third = server.refresh(&second.refresh_token).await.expect("the session lives");
    assert_eq!(server.introspect(&third.access_token).await.claims, role("guest"));
    let registered = sessions.update_session_claims(v1::UpdateSessionClaimsRequest {
        claims: Some(prost_types::Struct { fields: [("iss".to_owned(), prost_types::Value::default())].into() }),
        ..update(None, false)
    });
    assert_eq!(refusal(&registered.await.expect_err("registered")).1, "CLAIM_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_or_a_realm_is_cut_off_and_can_log_in_again() {
    let server = TestServer::start().await;
    let of = |client: &str| v1::IssueTokenRequest { client_id: client.into(), ..login("ann") };
    let (web, app) = (server.issue(of("web")).await.expect("issues"), server.issue(of("app")).await.expect("issues"));
    let mut tokens = server.tokens.clone();
    let revoke = v1::RevokeClientRequest { client_id: "web".into(), ..Default::default() };
    assert!(!tokens.revoke_client(revoke).await.expect("revokes").into_inner().revision.is_empty());
    for token in [&web.access_token, &web.refresh_token] {
        assert!(!server.introspect(token).await.active);
    }
    assert_eq!(refusal(&server.refresh(&web.refresh_token).await.expect_err("cut off")).1, "SESSION_ENDED");
    assert!(server.introspect(&app.access_token).await.active);
    server.pass(Duration::from_millis(1));
    let again = server.issue(of("web")).await.expect("issues");
    assert!(server.introspect(&again.access_token).await.active);

    tokens.revoke_realm(v1::RevokeRealmRequest::default()).await.expect("revokes");
    for token in [&app.access_token, &again.access_token, &app.refresh_token] {
        assert!(!server.introspect(token).await.active);
    }
    assert!(server.sessions_of("ann").await.is_empty());
    server.pass(Duration::from_millis(1));
    let server = server.restart().await;
    assert!(!server.introspect(&app.refresh_token).await.active, "after a restart too");
    assert!(server.refresh(&server.login("ann", "phone").await.refresh_token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_subject_is_unknown_and_its_tokens_are_dead() {
    let server = TestServer::start().await;
    let session = server.login("ann", "phone").await;
    let job = server.issue(v1::IssueTokenRequest { without_session: true, ..login("ann") }).await.expect("issues");
    let erase = v1::EraseSubjectRequest { subject: "ann".into(), ..Default::default() };
    let erased = server.sessions.clone().erase_subject(erase).await.expect("erases").into_inner();
    assert_eq!(erased.revoked_count, 1);
    for token in [&session.access_token, &session.refresh_token, &job.access_token] {
        assert!(!server.introspect(token).await.active);
    }
    let get = v1::GetSessionRequest { session_id: session.session_id, ..Default::default() };
    let gone = server.sessions.clone().get_session(get).await.expect_err("gone");
    assert_eq!(refusal(&gone).1, "SESSION_ENDED");
    let again = server.login("ann", "phone").await;
    assert!(server.introspect(&again.access_token).await.active);
    let job = server.issue(v1::IssueTokenRequest { without_session: true, ..login("ann") }).await.expect("issues");
    assert!(server.introspect(&job.access_token).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_answer_in_order_and_each_for_itself() {
    let server = TestServer::start().await;
    let (ann, bob) = (server.login("ann", "phone").await, server.login("bob", "phone").await);
    let tokens = vec![ann.access_token.clone(), String::new(), bob.refresh_token.clone(), "x.y.z".into()];
    let mut client = server.tokens.clone();
    let ask = v1::BatchIntrospectTokensRequest { tokens: tokens.clone(), ..Default::default() };
    let results = client.batch_introspect_tokens(ask.clone()).await.expect("answers").into_inner().results;
    let subjects: Vec<_> = results.iter().map(|result| result.subject.as_str()).collect();
    assert_eq!(subjects, ["ann", "", "bob", ""]);

    let revoke = v1::BatchRevokeTokensRequest { tokens, ..Default::default() };
    let revoked = client.batch_revoke_tokens(revoke).await.expect("revokes").into_inner();
    assert_eq!(revoked.results.len(), 4);
    assert!(revoked.results.iter().all(|result| result.error_reason() == v1::ErrorReason::Unspecified));
    assert!(!revoked.revision.is_empty());
    let results = client.batch_introspect_tokens(ask).await.expect("answers").into_inner().results;
    assert!(results.iter().all(|result| *result == v1::IntrospectTokenResponse::default()));

    let many = v1::BatchIntrospectTokensRequest { tokens: vec![ann.access_token; 1_001], ..Default::default() };
    assert_eq!(client.batch_introspect_tokens(many).await.expect_err("too many").code(), Code::InvalidArgument);
    let thousand = v1::BatchIntrospectTokensRequest { tokens: vec!["x".repeat(3_000); 1_000], ..Default::default() };
    assert_eq!(client.batch_introspect_tokens(thousand).await.expect("3 MB").into_inner().results.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn freshness_is_what_was_asked_for() {
    use v1::consistency::Requirement;
    let server = TestServer::start().await;
    let (ann, bob) = (server.login("ann", "phone").await, server.login("bob", "phone").await);
    let ask = |token: &str, requirement| v1::IntrospectTokenRequest {
        token: token.to_owned(),
        consistency: Some(v1::Consistency { requirement: Some(requirement) }),
        ..Default::default()
    };
    let mut client = server.tokens.clone();
    let full = client.introspect_token(ask(&bob.access_token, Requirement::FullyConsistent(true))).await;
    assert!(full.expect("reads the record").into_inner().active);
    let revision = server.revoke(&ann.access_token).await.revision;
    for (token, active) in [(&ann.access_token, false), (&bob.access_token, true)] {
        let answer = client.introspect_token(ask(token, Requirement::AtLeastAsFresh(revision.clone()))).await;
        assert_eq!(answer.expect("fresh enough").into_inner().active, active);
    }
    let revision = server.revoke(&server.login("bob", "laptop").await.access_token).await.revision;
    let answer = client.introspect_token(ask(&bob.access_token, Requirement::AtLeastAsFresh(revision.clone()))).await;
    let known = Revision::parse(&answer.expect("fresh enough").into_inner().revision).expect("a revision");
    let revoked = Revision::parse(&revision).expect("a revision").positions()[0];
    assert!(known.positions().iter().any(|known| known.partition == revoked.partition && *known >= revoked));
    assert!(known.positions().len() <= 2, "of bob and of the realm, however many partitions there are");
    let nonsense = client.introspect_token(ask(&bob.access_token, Requirement::AtLeastAsFresh("!".into()))).await;
    assert_eq!(refusal(&nonsense.expect_err("nonsense")), (Code::InvalidArgument, "INVALID_REQUEST".into()));
    // One that no log has reached: partition 0, number 2^63, tag 0.
    let future = "AACAAAAAAAAAAAAAAAA".to_owned();
    let unreached = client.introspect_token(ask(&bob.access_token, Requirement::AtLeastAsFresh(future))).await;
    assert_eq!(refusal(&unreached.expect_err("not reached")), (Code::Unavailable, "STORE_UNAVAILABLE".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn very_large_sessions_reach_the_limit_of_a_record_first() {
    use prost_types::value::Kind;
    let server = TestServer::start().await;
    let large = prost_types::Value { kind: Some(Kind::StringValue("x".repeat(4_000))) };
    let claims = Some(prost_types::Struct { fields: [("large".to_owned(), large)].into() });
    for _ in 0..20 {
        server.issue(v1::IssueTokenRequest { claims: claims.clone(), ..login("ann") }).await.expect("issues");
    }
    assert_eq!(server.sessions_of("ann").await.len(), 15, "64 KiB of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_too_large_to_sign_changes_nothing() {
    let server = TestServer::start().await;
    let before = server.login("ann", "phone").await;
    let audience: Vec<_> = (0..28).map(|number| format!("{number:0>250}")).collect();
    let device = Some(v1::Device { device_id: "phone".into(), ..Default::default() });
    let large = v1::IssueTokenRequest { audience, device, ..login("ann") };
    assert_eq!(refusal(&server.issue(large).await.expect_err("too large")).1, "INVALID_REQUEST");
    assert!(server.introspect(&before.access_token).await.active, "the session that it would have replaced lives");
    assert_eq!(server.sessions_of("ann").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sessionless_token_does_not_fall_with_a_login_or_a_sibling() {
    use v1::consistency::Requirement;
    let server = TestServer::start().await;
    let job = v1::IssueTokenRequest { without_session: true, ..login("job") };
    let (kept, sibling) = (server.issue(job.clone()).await.expect("issues"), server.issue(job).await.expect("issues"));
    server.pass(Duration::from_secs(60));
    server.revoke(&sibling.access_token).await;
    server.login("job", "phone").await;
    for requirement in [Requirement::MinimizeLatency(true), Requirement::FullyConsistent(true)] {
        let request = v1::IntrospectTokenRequest {
            token: kept.access_token.clone(),
            consistency: Some(v1::Consistency { requirement: Some(requirement) }),
            ..Default::default()
        };
        assert!(server.tokens.clone().introspect_token(request).await.expect("answers").into_inner().active);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_races_with_a_cut_off_falls_with_its_session() {
    let server = TestServer::start().await;
    for _ in 0..20 {
        let tokens =
            server.issue(v1::IssueTokenRequest { client_id: "web".into(), ..login("ann") }).await.expect("issues");
        let revoke = v1::RevokeClientRequest { client_id: "web".into(), ..Default::default() };
        let mut client = server.tokens.clone();
        let (refreshed, revoked) = tokio::join!(server.refresh(&tokens.refresh_token), client.revoke_client(revoke));
        revoked.expect("revokes");
        server.pass(Duration::from_millis(1));
        for pair in [Some(tokens), refreshed.ok()].into_iter().flatten() {
            assert!(!server.introspect(&pair.access_token).await.active);
            assert!(!server.introspect(&pair.refresh_token).await.active);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_were_cut_off_take_no_place() {
    let server = TestServer::start_with(|policy| {
        policy.max_sessions = 1;
        policy.at_limit = AtLimit::Refuse;
    })
    .await;
    let named = v1::IssueTokenRequest { request_id: "one".into(), ..login("ann") };
    server.issue(named.clone()).await.expect("issues");
    assert!(server.issue(login("ann")).await.is_err(), "the place is taken");
    server.tokens.clone().revoke_realm(v1::RevokeRealmRequest::default()).await.expect("revokes");
    server.pass(Duration::from_millis(1));
    assert_eq!(refusal(&server.issue(named).await.expect_err("that session is over")).1, "SESSION_ENDED");
    server.issue(login("ann")).await.expect("the place is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_refresh_that_asks_for_something_else_is_told_so() {
    let server = TestServer::start().await;
    let scope = vec!["read".to_owned(), "write".to_owned()];
    let first = server.issue(v1::IssueTokenRequest { scope, ..login("ann") }).await.expect("issues");
    let second = server.refresh(&first.refresh_token).await.expect("refreshes; the answer is lost");
    let narrow = v1::RefreshTokenRequest {
        refresh_token: first.refresh_token.clone(),
        scope: vec!["read".into()],
        ..Default::default()
    };
    let refused = server.tokens.clone().refresh_token(narrow).await.expect_err("the token made has more");
    assert_eq!(refusal(&refused).1, "REFRESH_TOKEN_SUPERSEDED");
    assert_eq!(server.refresh(&first.refresh_token).await.expect("the same again"), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_token_falls_by_the_time_its_session_was_opened() {
    use token_authority::domain::ids::TokenId;
    let server = TestServer::start().await;
    let first = server.login("ann", "phone").await;
    server.pass(Duration::from_secs(60));
    let second = server.refresh(&first.refresh_token).await.expect("refreshes");
    let mut origins = Vec::new();
    for pair in [first, second] {
        let token_id = server.introspect(&pair.access_token).await.token_id;
        origins.push(TokenId::parse(&token_id).expect("an id").origin);
    }
    assert_eq!(origins[0], origins[1], "a cut-off that a refresh raced with would miss its token");
}
