//! C. `monitored`: session analytics and risk.

use std::time::Duration;

use token_authority::proto::v1;
use token_authority::proto::v1::TokenKind;

use crate::boot::issuer;
use crate::protected::Protected;
use crate::rows::rows;
use crate::test_server::{TestServer, refusal};
use crate::{claims, gateway};

const AUDIENCE: &str = "monitored-api";
const DAY: Duration = Duration::from_secs(86_400);

rows! { "monitored":
    c1_a_login_chooses_a_week_or_thirty_days,
    c2_no_token_passes_for_the_other_kind,
    c3_a_session_knows_platform_user_agent_and_address,
    c4_sessions_are_listed_and_end_one_by_one_or_everywhere,
    c10_many_tokens_are_introspected_and_revoked_in_one_request,
}

async fn c1_a_login_chooses_a_week_or_thirty_days(server: &TestServer) {
    for (remember_me, days) in [(false, 7), (true, 30)] {
        let subject = format!("ann-{days}");
        let request = v1::IssueTokenRequest { subject, remember_me, ..v1::IssueTokenRequest::default() };
        let login = server.issue(request).await.expect("issues");
        let payload = claims::payload(&login.access_token);
        let issued = payload["iat"].as_i64().unwrap();
        assert_eq!(payload["exp"].as_i64().unwrap() - issued, 900, "the access token's is the same");
        assert_eq!(login.refresh_expire_time.unwrap().seconds - issued, days * 86_400);
        let almost = DAY * u32::try_from(days).unwrap() - Duration::from_secs(1);
        server.pass(almost);
        let next = server.refresh(&login.refresh_token).await.expect("its last second");
        server.pass(Duration::from_secs(1));
        assert_eq!(refusal(&server.refresh(&next.refresh_token).await.expect_err("over")).1, "REFRESH_TOKEN_EXPIRED");
    }
}

async fn c2_no_token_passes_for_the_other_kind(server: &TestServer) {
    let protected = Protected::start(server, AUDIENCE).await;
    let login = server.login("ann", "phone").await;
    let seen = async |token: &str, required_audience: &str| {
        let (realm, token) = (server.realm(), token.to_owned());
        let required_audience = required_audience.to_owned();
        let request = v1::IntrospectTokenRequest { realm, token, required_audience, ..Default::default() };
        server.tokens.clone().introspect_token(request).await.expect("answers").into_inner()
    };
    let issuer = issuer(server);
    for (token, kind, own, other) in [
        (&login.access_token, TokenKind::Access, AUDIENCE, issuer.as_str()),
        (&login.refresh_token, TokenKind::Refresh, &issuer, AUDIENCE),
    ] {
        let good = seen(token, own).await;
        assert_eq!((good.active, good.token_kind(), good.audience), (true, kind, vec![own.to_owned()]));
        assert!(!seen(token, other).await.active);
    }

    let bearer = format!("Bearer {}", login.refresh_token);
    assert_eq!(protected.ask_http(&[("authorization", &bearer)]).await.0, 401);
    assert_eq!(gateway::ask(server, &[("authorization", &bearer)]).await.0, 401);
    let refused = server.refresh(&login.access_token).await.expect_err("no refresh token");
    assert_eq!(refusal(&refused).1, "REFRESH_TOKEN_INVALID");
    server.refresh(&login.refresh_token).await.expect("nothing happened to the session");
}

async fn c3_a_session_knows_platform_user_agent_and_address(server: &TestServer) {
    let device = v1::Device {
        device_id: "d-1".to_owned(),
        platform: "ios".to_owned(),
        name: "Ann's phone".to_owned(),
        user_agent: "Shop/4.2 (iPhone)".to_owned(),
        ip_address: "203.0.113.7".to_owned(),
    };
    let request = v1::IssueTokenRequest {
        subject: "ann".to_owned(),
        device: Some(device.clone()),
        ..v1::IssueTokenRequest::default()
    };
    let login = server.issue(request).await.expect("issues");
    server.refresh(&login.refresh_token).await.expect("refreshes");
    let get = v1::GetSessionRequest { realm: server.realm(), session_id: login.session_id };
    let session = server.sessions.clone().get_session(get).await.expect("answers").into_inner().session;
    assert_eq!(session.expect("a session").device, Some(device.clone()));
    assert_eq!(server.sessions_of("ann").await[0].device, Some(device));
}

async fn c4_sessions_are_listed_and_end_one_by_one_or_everywhere(server: &TestServer) {
    let mut logins = Vec::new();
    for device in ["phone", "tablet", "laptop", "desktop"] {
        logins.push(server.login("bob", device).await);
    }
    let listed = async || {
        let sessions = server.sessions_of("bob").await;
        sessions.into_iter().map(|session| session.session_id).collect::<Vec<_>>()
    };
    let ids: Vec<_> = logins.iter().map(|login| login.session_id.clone()).collect();
    assert_eq!(listed().await, [&ids[3], &ids[2], &ids[1], &ids[0]].map(Clone::clone), "the latest first");

    let (realm, session_id) = (server.realm(), ids[1].clone());
    let one = v1::RevokeSessionRequest { realm, session_id, ..Default::default() };
    server.sessions.clone().revoke_session(one).await.expect("revokes");
    assert_eq!(listed().await, [&ids[3], &ids[2], &ids[0]].map(Clone::clone));

    let (realm, subject) = (server.realm(), "bob".to_owned());
    let others =
        v1::RevokeAllSessionsRequest { realm, subject, except_session_id: ids[0].clone(), ..Default::default() };
    let answer = server.sessions.clone().revoke_all_sessions(others.clone()).await.expect("revokes").into_inner();
    assert_eq!((answer.revoked_count, listed().await), (2, vec![ids[0].clone()]));
    assert!(server.introspect(&logins[0].access_token).await.active, "here, where it was asked");

    let everywhere = v1::RevokeAllSessionsRequest { except_session_id: String::new(), ..others };
    server.sessions.clone().revoke_all_sessions(everywhere).await.expect("revokes");
    assert_eq!(listed().await, Vec::<String>::new());
    for login in &logins {
        assert!(!server.introspect(&login.access_token).await.active);
    }
}

async fn c10_many_tokens_are_introspected_and_revoked_in_one_request(server: &TestServer) {
    let mut tokens = Vec::new();
    for number in 0..50 {
        tokens.push(server.login(&format!("user-{number}"), "phone").await.access_token);
    }
    tokens.insert(25, "no token".to_owned());
    let active = async || {
        let request =
            v1::BatchIntrospectTokensRequest { realm: server.realm(), tokens: tokens.clone(), consistency: None };
        let answer = server.tokens.clone().batch_introspect_tokens(request).await.expect("answers").into_inner();
        answer.results.into_iter().map(|seen| seen.active.then_some(seen.subject)).collect::<Vec<_>>()
    };
    let mut expected: Vec<_> = (0..50).map(|number| Some(format!("user-{number}"))).collect();
    expected.insert(25, None);
    assert_eq!(active().await, expected, "in their order");

    let request = v1::BatchRevokeTokensRequest { realm: server.realm(), tokens: tokens.clone() };
    let answer = server.tokens.clone().batch_revoke_tokens(request).await.expect("revokes").into_inner();
    assert_eq!(answer.results.len(), 51);
    assert!(answer.results.iter().all(|result| result.error_reason == 0), "a token that is none has no more to end");
    assert_eq!(active().await, vec![None; 51]);
}
