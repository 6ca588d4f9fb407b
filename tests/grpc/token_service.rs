//! `TokenService` over real tonic: issue, refresh, introspect, revoke, and what each refuses.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::value::Kind;
use token_authority::proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::test_server::{TestServer, refusal};

fn text(text: &str) -> prost_types::Value {
    prost_types::Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

fn claims(name: &str, value: prost_types::Value) -> Option<prost_types::Struct> {
    Some(prost_types::Struct { fields: BTreeMap::from([(name.to_owned(), value)]) })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issued_token_introspects_with_all_it_says() {
    let server = TestServer::start().await;
    let tokens = server
        .issue(v1::IssueTokenRequest {
            subject: "ann".into(),
            client_id: "web".into(),
            audience: vec!["orders".into(), "billing".into()],
            scope: vec!["read".into(), "write".into(), "read".into()],
            claims: claims("role", text("admin")),
            ..v1::IssueTokenRequest::default()
        })
        .await
        .expect("issues");
    assert_eq!(tokens.token_type, "Bearer");
    assert!(tokens.refresh_token.starts_with("tar_"));

    let access = server.introspect(&tokens.access_token).await;
    assert!(access.active);
    assert_eq!(access.token_kind(), v1::TokenKind::Access);
    assert_eq!((access.subject.as_str(), access.client_id.as_str()), ("ann", "web"));
    assert_eq!(
        (access.audience, access.scope),
        (vec!["orders".into(), "billing".into()], vec!["read".into(), "write".into()])
    );
    assert_eq!(access.session_id, tokens.session_id);
    assert_eq!(access.claims, claims("role", text("admin")));
    assert_eq!(access.expire_time.map(|t| t.seconds), tokens.access_expire_time.map(|t| t.seconds));
    assert_eq!(access.expire_time.expect("exp").seconds - access.issue_time.expect("iat").seconds, 900);

    let refresh = server.introspect(&tokens.refresh_token).await;
    assert!(refresh.active);
    assert_eq!(refresh.token_kind(), v1::TokenKind::Refresh);
    assert_eq!(refresh.audience, vec![refresh.issuer.clone()], "a refresh token is for the issuer alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_defaults_of_the_default_realm() {
    let server = TestServer::start().await;
    let tokens =
        server.issue(v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() }).await.expect("issues");
    let access = server.introspect(&tokens.access_token).await;
    assert_eq!((access.audience, access.client_id.as_str()), (vec!["default".to_owned()], "cli"));
    let after = tokens.refresh_after_time.expect("a time").seconds - access.issue_time.expect("iat").seconds;
    assert!((509..=691).contains(&after), "two thirds of 900 s, give or take a tenth: {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_token_answers_nothing_else() {
    let server = TestServer::start().await;
    let tokens = server.login("ann", "phone").await;
    let inactive = v1::IntrospectTokenResponse::default();
    let (head, signature) = tokens.access_token.rsplit_once('.').expect("a JWS");
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{head}.{other}{}", &signature[1..]);
    let (header, rest) = tokens.access_token.split_once('.').expect("a JWS");
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("text");
    let kid = header.split("\"kid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a kid");
    let unknown = header.replace(kid, &kid.chars().rev().collect::<String>());
    let unknown_key = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(unknown));
    let upper_case = tokens.refresh_token.to_uppercase();
    for token in ["x", "a.b.c", "tar_", &tampered, &unknown_key, &"x".repeat(16_384), &upper_case] {
        assert_eq!(server.introspect(token).await, inactive, "{token}");
    }
    server.pass(Duration::from_secs(900));
    assert_eq!(server.introspect(&tokens.access_token).await, inactive, "expired");
    assert!(server.introspect(&tokens.refresh_token).await.active);
    server.revoke(&tokens.refresh_token).await;
    assert_eq!(server.introspect(&tokens.refresh_token).await, inactive, "revoked");
    let tokens = server.login("ann", "phone").await;
    assert!(server.introspect(&tokens.access_token).await.active);
    server.revoke(&tokens.access_token).await;
    assert_eq!(server.introspect(&tokens.access_token).await, inactive, "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_may_require_an_audience_and_scopes() {
    let server = TestServer::start().await;
    let request = v1::IssueTokenRequest {
        subject: "ann".into(),
        audience: vec!["orders".into()],
        scope: vec!["read".into()],
        ..Default::default()
    };
    let token = server.issue(request).await.expect("issues").access_token;
    for (audience, scope, active) in
        [("orders", vec!["read"], true), ("billing", vec![], false), ("orders", vec!["read", "write"], false)]
    {
        let request = v1::IntrospectTokenRequest {
            token: token.clone(),
            required_audience: audience.into(),
            required_scope: scope.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let answer = server.tokens.clone().introspect_token(request).await.expect("answers").into_inner();
        assert_eq!(answer.active, active, "{audience} {scope:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_gives_a_new_pair_with_the_same_context() {
    let server = TestServer::start().await;
    let first = server
        .issue(v1::IssueTokenRequest {
            subject: "ann".into(),
            claims: claims("phone_number", text("+49170")),
            ..Default::default()
        })
        .await
        .expect("issues");
    server.pass(Duration::from_secs(1_000));
    let second = server.refresh(&first.refresh_token).await.expect("refreshes");
    assert_ne!(first.refresh_token, second.refresh_token);
    assert_ne!(first.access_token, second.access_token);
    assert_eq!(first.session_id, second.session_id);
    assert_eq!(first.refresh_expire_time, second.refresh_expire_time, "the absolute expiry stays");
    let introspected = server.introspect(&second.access_token).await;
    assert_eq!(introspected.claims, claims("phone_number", text("+49170")));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_parallel_refreshes_reach_one_generation() {
    let server = TestServer::start().await;
    let tokens = server.login("ann", "phone").await;
    let calls = (0..64).map(|_| server.refresh(&tokens.refresh_token));
    let answers = futures::future::join_all(calls).await;
    let first = answers[0].as_ref().expect("refreshes");
    for answer in &answers {
        let answer = answer.as_ref().expect("refreshes");
        assert_eq!(answer.refresh_token, first.refresh_token);
        assert_eq!(answer.access_token, first.access_token);
    }
    assert_eq!(server.sessions_of("ann").await[0].generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leeway_one_of_sixty_four_refreshes_succeeds_and_the_family_lives() {
    let server = TestServer::start_with(|policy| policy.reuse_leeway = Duration::ZERO).await;
    let tokens = server.login("ann", "phone").await;
    let calls = (0..64).map(|_| server.refresh(&tokens.refresh_token));
    let answers = futures::future::join_all(calls).await;
    let (good, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(good.len(), 1);
    for refused in refused {
        let status = refused.expect_err("refused");
        assert_eq!(refusal(&status), (Code::InvalidArgument, "REFRESH_TOKEN_SUPERSEDED".into()));
    }
    let successor = &good[0].as_ref().expect("the one").refresh_token;
    assert!(server.refresh(successor).await.is_ok(), "the family lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_given_again_until_the_successor_is_used() {
    let server = TestServer::start().await;
    let first = server.login("ann", "phone").await.refresh_token;
    let second = server.refresh(&first).await.expect("refreshes");
    server.pass(Duration::from_secs(9));
    assert_eq!(server.refresh(&first).await.expect("again"), second);
    let third = server.refresh(&second.refresh_token).await.expect("refreshes");
    assert_eq!(server.refresh(&second.refresh_token).await.expect("again"), third);
    let replay = server.refresh(&first).await.expect_err("two generations old");
    assert_eq!(refusal(&replay), (Code::InvalidArgument, "REFRESH_TOKEN_REPLAYED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_ends_its_family_and_no_other() {
    let server = TestServer::start().await;
    let (phone, laptop) = (server.login("ann", "phone").await, server.login("ann", "laptop").await);
    let second = server.refresh(&phone.refresh_token).await.expect("refreshes");
    server.pass(Duration::from_secs(11));
    let replay = server.refresh(&phone.refresh_token).await.expect_err("the leeway is over");
    assert_eq!(refusal(&replay).1, "REFRESH_TOKEN_REPLAYED");
    for token in [&phone.access_token, &second.access_token, &second.refresh_token] {
        assert!(!server.introspect(token).await.active);
    }
    assert_eq!(refusal(&server.refresh(&second.refresh_token).await.expect_err("dead")).1, "REFRESH_TOKEN_REPLAYED");
    assert!(server.introspect(&laptop.access_token).await.active);
    assert!(server.refresh(&laptop.refresh_token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_of_a_replay_though_no_other_session_lives() {
    let server = TestServer::start().await;
    let first = server.login("ann", "phone").await;
    let second = server.refresh(&first.refresh_token).await.expect("refreshes");
    let third = server.refresh(&second.refresh_token).await.expect("refreshes");
    for token in [&first, &third] {
        let refused = server.refresh(&token.refresh_token).await.expect_err("a replay, and then its victim");
        assert_eq!(refusal(&refused).1, "REFRESH_TOKEN_REPLAYED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_is_detected_after_a_restart() {
    let server = TestServer::start().await;
    let first = server.login("ann", "phone").await;
    let second = server.refresh(&first.refresh_token).await.expect("refreshes");
    let server = server.restart().await;
    assert!(server.introspect(&second.access_token).await.active, "tokens outlive a restart");
    server.pass(Duration::from_secs(11));
    assert_eq!(refusal(&server.refresh(&first.refresh_token).await.expect_err("replay")).1, "REFRESH_TOKEN_REPLAYED");
    let server = server.restart().await;
    assert!(!server.introspect(&second.access_token).await.active, "revocations outlive a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_revoked_no_token_of_a_racing_refresh_is_active() {
    let server = TestServer::start().await;
    for round in 0..50 {
        let tokens = server.login("ann", &format!("device-{round}")).await;
        let (refreshed, _) = tokio::join!(server.refresh(&tokens.refresh_token), server.revoke(&tokens.access_token));
        if let Ok(refreshed) = refreshed {
            assert!(!server.introspect(&refreshed.access_token).await.active);
            assert!(!server.introspect(&refreshed.refresh_token).await.active);
        }
        assert!(!server.introspect(&tokens.access_token).await.active);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_is_idempotent_and_ends_the_whole_session() {
    let server = TestServer::start().await;
    for by in ["access", "refresh", "expired access"] {
        let tokens = server.login("ann", "phone").await;
        let token = if by == "refresh" { &tokens.refresh_token } else { &tokens.access_token };
        if by == "expired access" {
            server.pass(Duration::from_secs(1_000));
        }
        assert!(!server.revoke(token).await.revision.is_empty(), "{by}");
        server.revoke(token).await;
        assert!(!server.introspect(&tokens.access_token).await.active, "{by}");
        assert_eq!(refusal(&server.refresh(&tokens.refresh_token).await.expect_err(by)).1, "SESSION_ENDED");
    }
    for garbage in ["x", "a.b.c", "tar_AAAA"] {
        server.revoke(garbage).await;
    }
}

/// RFC 7009, section 2.1, and RFC 7662, section 2.1: the hint only says where to look first.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_hint_changes_nothing() {
    let server = TestServer::start().await;
    for hint in ["access_token", "refresh_token", "urn:something-else"] {
        for by_access in [true, false] {
            let tokens = server.login("ann", "phone").await;
            let token = if by_access { &tokens.access_token } else { &tokens.refresh_token };
            let (token, token_type_hint) = (token.clone(), hint.to_owned());
            let request = v1::IntrospectTokenRequest { token: token.clone(), token_type_hint, ..Default::default() };
            let answer = server.tokens.clone().introspect_token(request).await.expect("answers").into_inner();
            assert!(answer.active, "{hint}");
            assert_eq!(answer.token_kind() == v1::TokenKind::Access, by_access, "{hint}");

            let request = v1::RevokeTokenRequest { token, token_type_hint: hint.to_owned(), ..Default::default() };
            server.tokens.clone().revoke_token(request).await.expect("revokes");
            assert!(!server.introspect(&tokens.access_token).await.active, "{hint}");
            assert!(!server.introspect(&tokens.refresh_token).await.active, "{hint}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_session_ends_by_itself_or_with_its_subject() {
    let server = TestServer::start().await;
    let request = v1::IssueTokenRequest { subject: "job".into(), without_session: true, ..Default::default() };
    let tokens =
        [server.issue(request.clone()).await.expect("issues"), server.issue(request.clone()).await.expect("issues")];
    assert!(tokens[0].refresh_token.is_empty() && tokens[0].session_id.is_empty());
    assert!(tokens[0].refresh_after_time.is_none() && tokens[0].refresh_expire_time.is_none());
    server.revoke(&tokens[0].access_token).await;
    assert!(!server.introspect(&tokens[0].access_token).await.active);
    assert!(server.introspect(&tokens[1].access_token).await.active);
    let all = v1::RevokeAllSessionsRequest { subject: "job".into(), ..Default::default() };
    server.sessions.clone().revoke_all_sessions(all).await.expect("revokes");
    assert!(!server.introspect(&tokens[1].access_token).await.active);
    let later = server.issue(request).await.expect("issues");
    assert!(server.introspect(&later.access_token).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_ends_with_its_tokens() {
    let server = TestServer::start_with(|policy| {
        policy.idle_timeout = Some(Duration::from_secs(600));
    })
    .await;
    let first = server.login("ann", "phone").await;
    let access = server.introspect(&first.access_token).await;
    assert_eq!(access.expire_time.expect("exp").seconds - access.issue_time.expect("iat").seconds, 600);
    server.pass(Duration::from_secs(590));
    let second = server.refresh(&first.refresh_token).await.expect("still active");
    server.pass(Duration::from_secs(601));
    assert!(!server.introspect(&second.access_token).await.active);
    assert_eq!(refusal(&server.refresh(&second.refresh_token).await.expect_err("idle")).1, "SESSION_IDLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_session_says_so() {
    let server = TestServer::start().await;
    let tokens = server.login("ann", "phone").await;
    server.pass(Duration::from_secs(7 * 86_400));
    let expired = server.refresh(&tokens.refresh_token).await.expect_err("expired");
    assert_eq!(refusal(&expired), (Code::InvalidArgument, "REFRESH_TOKEN_EXPIRED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_narrows_and_never_widens() {
    let server = TestServer::start().await;
    let tokens = server
        .issue(v1::IssueTokenRequest {
            subject: "ann".into(),
            client_id: "web".into(),
            audience: vec!["orders".into(), "billing".into()],
            scope: vec!["read".into(), "write".into()],
            ..Default::default()
        })
        .await
        .expect("issues");
    let ask = |scope: &[&str], audience: &[&str], client: &str| v1::RefreshTokenRequest {
        refresh_token: tokens.refresh_token.clone(),
        scope: scope.iter().map(ToString::to_string).collect(),
        audience: audience.iter().map(ToString::to_string).collect(),
        client_id: client.into(),
        ..Default::default()
    };
    for (request, code, reason) in [
        (ask(&["admin"], &[], ""), Code::PermissionDenied, "SCOPE_NOT_GRANTED"),
        (ask(&[], &["payroll"], ""), Code::PermissionDenied, "AUDIENCE_NOT_ALLOWED"),
        (ask(&[], &[], "mobile"), Code::InvalidArgument, "CLIENT_MISMATCH"),
    ] {
        let status = server.tokens.clone().refresh_token(request).await.expect_err(reason);
        assert_eq!(refusal(&status), (code, reason.to_owned()));
    }
    let narrow = server.tokens.clone().refresh_token(ask(&["read"], &["orders"], "web")).await.expect("refreshes");
    let narrow = narrow.into_inner().tokens.expect("tokens");
    let introspected = server.introspect(&narrow.access_token).await;
    assert_eq!((introspected.scope, introspected.audience), (vec!["read".to_owned()], vec!["orders".to_owned()]));
    let whole = server.refresh(&narrow.refresh_token).await.expect("refreshes");
    assert_eq!(
        server.introspect(&whole.access_token).await.scope,
        ["read", "write"],
        "only that one token was narrower"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said() {
    let server = TestServer::start_with(|policy| {
        use token_authority::domain::ids::{Audience, Scope};
        use token_authority::domain::own_claims::{OwnClaim, OwnClaims};
        use token_authority::domain::policy::Allowed;
        policy.audiences = Allowed::Only([Audience::parse("default").expect("an audience")].into());
        policy.scopes = Allowed::Only([Scope::parse("read").expect("a scope")].into());
        policy.claims = OwnClaims::Only([("role".to_owned(), OwnClaim::default())].into());
    })
    .await;
    let good = v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() };
    let cases = [
        (v1::IssueTokenRequest { realm: "nowhere".into(), ..good.clone() }, Code::NotFound, "UNKNOWN_REALM", ""),
        (
            v1::IssueTokenRequest { subject: String::new(), ..good.clone() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
            "subject",
        ),
        (
            v1::IssueTokenRequest { subject: "a\nb".into(), ..good.clone() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
            "subject",
        ),
        (
            v1::IssueTokenRequest { audience: vec!["x".into()], ..good.clone() },
            Code::PermissionDenied,
            "AUDIENCE_NOT_ALLOWED",
            "",
        ),
        (
            v1::IssueTokenRequest { scope: vec!["write".into()], ..good.clone() },
            Code::PermissionDenied,
            "SCOPE_NOT_GRANTED",
            "",
        ),
        (
            v1::IssueTokenRequest { scope: vec!["a b".into()], ..good.clone() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
            "scope[0]",
        ),
        (
            v1::IssueTokenRequest { claims: claims("iss", text("x")), ..good.clone() },
            Code::InvalidArgument,
            "CLAIM_NOT_ALLOWED",
            "claims.iss",
        ),
        (
            v1::IssueTokenRequest { claims: claims("phone", text("x")), ..good.clone() },
            Code::InvalidArgument,
            "CLAIM_NOT_ALLOWED",
            "claims.phone",
        ),
        (
            v1::IssueTokenRequest { claims: claims("role", text(&"x".repeat(5_000))), ..good.clone() },
            Code::InvalidArgument,
            "CLAIM_NOT_ALLOWED",
            "claims",
        ),
        (
            v1::IssueTokenRequest {
                device: Some(v1::Device { device_id: "x".repeat(129), ..Default::default() }),
                ..good.clone()
            },
            Code::InvalidArgument,
            "INVALID_REQUEST",
            "device.device_id",
        ),
    ];
    for (request, code, reason, field) in cases {
        let status = server.issue(request).await.expect_err(reason);
        assert_eq!(refusal(&status), (code, reason.to_owned()), "{status:?}");
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        assert_eq!(violations.first().map_or("", |violation| &violation.field), field, "{status:?}");
    }
    let garbage = server.refresh("tar_nonsense").await.expect_err("garbage");
    assert_eq!(refusal(&garbage), (Code::InvalidArgument, "REFRESH_TOKEN_INVALID".into()));
    let oversize = server.refresh(&"x".repeat(1 << 20)).await.expect_err("a MiB");
    assert_eq!(oversize.code(), Code::OutOfRange, "{oversize:?}");
}
