//! A. `web-mobile`: persistent sessions for web and mobile.

use std::collections::BTreeSet;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use token_authority::client::TokenSource;
use token_authority::proto::v1;
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::boot::{apart, issuer};
use crate::protected::{Protected, to_authority};
use crate::rows::rows;
use crate::test_server::{TestServer, refusal};
use crate::wire::get;
use crate::{claims, gateway, kept};

use browser::{
    a4_the_token_comes_from_the_header_or_a_cookie_and_the_header_wins,
    a9_a_browser_refreshes_and_logs_out_with_cookies_alone,
};
use refusals::a10_expired_malformed_missing_revoked_and_tampered_have_a_reason_each;

mod browser;
mod refusals;

const AUDIENCE: &str = "web-mobile-api";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Generous: what is waited for comes at once on a free machine.
const PATIENCE: Duration = Duration::from_secs(20);
const INVALID: &str = "Bearer error=\"invalid_token\"";

rows! { "web-mobile":
    a1_access_tokens_live_15_minutes_and_outlive_the_rotation_of_their_keys,
    a2_a_refresh_token_lives_a_week_and_is_replaced_at_each_use,
    a3_every_request_is_checked_by_middleware_gateway_or_key_set,
    a4_the_token_comes_from_the_header_or_a_cookie_and_the_header_wins,
    a5_the_client_refreshes_by_itself_before_expiry,
    a6_what_is_stored_expires_by_itself,
    a7_after_a_logout_nobody_takes_the_access_token,
    a8_claims_are_in_the_token_and_in_the_introspection,
    a9_a_browser_refreshes_and_logs_out_with_cookies_alone,
    a10_expired_malformed_missing_revoked_and_tampered_have_a_reason_each,
    a11_sessions_on_several_devices_are_independent,
    a12_one_call_ends_all_sessions_of_a_subject,
}

async fn a1_access_tokens_live_15_minutes_and_outlive_the_rotation_of_their_keys(server: &TestServer) {
    let mut tokens = vec![server.login("ann", "phone").await.access_token];
    for device in ["tablet", "laptop"] {
        rotate(server).await;
        tokens.push(server.login("ann", device).await.access_token);
    }
    for token in &tokens {
        let payload = claims::payload(token);
        assert_eq!(payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap(), 900);
        assert_eq!(claims::header(token)["alg"], "RS256");
    }
    assert_eq!(signers(&tokens).len(), 3);
    server.pass(15 * MINUTE - Duration::from_secs(1));
    for token in &tokens {
        assert!(server.introspect(token).await.active);
    }
    server.pass(Duration::from_secs(1));
    for token in &tokens {
        assert!(!server.introspect(token).await.active);
    }

    // And by themselves, when it is time by the realm file.
    server.pass(90 * DAY);
    let rotated = async {
        while signers(&tokens).len() == 3 {
            sleep(Duration::from_millis(20)).await;
            server.pass(15 * MINUTE);
            tokens.push(server.login("ann", "phone").await.access_token);
        }
    };
    timeout(PATIENCE, rotated).await.expect("another key signs");
}

/// Hurries what the server does by itself every 90 days.
async fn rotate(server: &TestServer) {
    let prepare = v1::PrepareKeyRequest { realm: server.realm(), ..Default::default() };
    server.keys.clone().prepare_key(prepare).await.expect("prepares");
    let activate = v1::ActivateKeyRequest { realm: server.realm(), immediate: true, ..Default::default() };
    server.keys.clone().activate_key(activate).await.expect("activates");
}

/// The keys that signed some tokens.
fn signers(tokens: &[String]) -> BTreeSet<String> {
    tokens.iter().map(|token| claims::header(token)["kid"].to_string()).collect()
}

async fn a2_a_refresh_token_lives_a_week_and_is_replaced_at_each_use(server: &TestServer) {
    let first = server.login("ann", "phone").await;
    let issued = claims::payload(&first.access_token)["iat"].as_i64().unwrap();
    assert_eq!(first.refresh_expire_time.unwrap().seconds - issued, 7 * 86_400);
    let second = server.refresh(&first.refresh_token).await.expect("refreshes");
    let third = server.refresh(&second.refresh_token).await.expect("refreshes");
    assert_eq!([&first, &second, &third].map(|tokens| &tokens.refresh_token).iter().collect::<BTreeSet<_>>().len(), 3);
    let refused = server.refresh(&first.refresh_token).await.expect_err("used up");
    assert_eq!(refusal(&refused), (Code::InvalidArgument, "REFRESH_TOKEN_REPLAYED".to_owned()));

    let unused = server.login("ann", "phone").await;
    server.pass(WEEK);
    let refused = server.refresh(&unused.refresh_token).await.expect_err("expired");
    assert_eq!(refusal(&refused).1, "REFRESH_TOKEN_EXPIRED");
}

async fn a3_every_request_is_checked_by_middleware_gateway_or_key_set(server: &TestServer) {
    let protected = Protected::start(server, AUDIENCE).await;
    let jwks = get(server.http(), "/realms/web-mobile/.well-known/jwks.json").await;
    let keys: JwkSet = serde_json::from_str(&jwks.body).expect("a key set");
    let good = server.login("ann", "phone").await.access_token;
    let (head, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for (token, passes) in [(&good, true), (&forged, false), (&good, true)] {
        let header = [("authorization", format!("Bearer {token}"))];
        let header = header.each_ref().map(|(name, value)| (*name, value.as_str()));
        let status = if passes { 200 } else { 401 };
        assert_eq!(protected.ask_http(&header).await.0, status, "axum");
        let code = if passes { Code::Ok } else { Code::Unauthenticated };
        assert_eq!(protected.ask_grpc(Some(token)).await, code, "tonic");
        assert_eq!(gateway::ask(server, &header).await.0, status, "ext_authz");
        assert_eq!(verifies(token, &keys, &issuer(server)), passes, "jwt_authn and whoever has the key set");
    }
    assert_eq!(protected.ask_http(&[]).await.0, 401);
    assert_eq!(protected.ask_grpc(None).await, Code::Unauthenticated);
    assert_eq!(gateway::ask(server, &[]).await.0, 401);
}

/// As a library of others' making decides, by the key set alone.
fn verifies(token: &str, keys: &JwkSet, issuer: &str) -> bool {
    let kid = jsonwebtoken::decode_header(token).expect("a header").kid.expect("a kid");
    let key = DecodingKey::from_jwk(keys.find(&kid).expect("a published key")).expect("a key");
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[AUDIENCE]);
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}

async fn a5_the_client_refreshes_by_itself_before_expiry(server: &TestServer) {
    let login = server.login("ann", "phone").await;
    let source = TokenSource::builder(to_authority(server)).realm(&server.realm()).clock(server.clock());
    let source = source.start(login.clone()).await.expect("starts");
    let mut seen = BTreeSet::new();
    // An hour of calls, one a minute: the program asks for a token and for nothing else.
    for _ in 0..60 {
        let token = source.token().await.expect("a token");
        assert!(server.introspect(token.expose()).await.active);
        seen.insert(token.expose().to_owned());
        source.finished().await;
        server.pass(MINUTE);
    }
    assert!((5..=8).contains(&seen.len()), "{} tokens of 15 minutes", seen.len());
    assert!(server.refresh(&login.refresh_token).await.is_err(), "the first refresh token was used long ago");
}

async fn a6_what_is_stored_expires_by_itself(server: &TestServer) {
    kept::all_of_it_ends(busy(server).await, WEEK).await;
    kept::nothing_is_left_after(busy(server).await, WEEK).await;
}

/// Another server, on which sessions were opened, refreshed and ended.
async fn busy(server: &TestServer) -> TestServer {
    let server = apart(server).await;
    for subject in ["ann", "ben", "cat"] {
        let first = server.login(subject, "phone").await;
        server.refresh(&first.refresh_token).await.expect("refreshes");
        let ended = server.login(subject, "laptop").await;
        server.revoke(&ended.refresh_token).await;
    }
    server
}

async fn a7_after_a_logout_nobody_takes_the_access_token(server: &TestServer) {
    let protected = Protected::start(server, AUDIENCE).await;
    let login = server.login("ann", "phone").await;
    let bearer = format!("Bearer {}", login.access_token);
    let header = [("authorization", bearer.as_str())];
    assert_eq!(protected.ask_http(&header).await.0, 200);
    assert_eq!(gateway::ask(server, &header).await.0, 200);

    server.revoke(&login.refresh_token).await;
    assert!(!server.introspect(&login.access_token).await.active);
    assert_eq!(gateway::ask(server, &header).await, (401, INVALID.to_owned()));
    let told = async {
        while protected.ask_http(&header).await.0 == 200 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("the middleware is told");
    assert_eq!(protected.ask_http(&header).await, (401, INVALID.to_owned()));
    assert_eq!(protected.ask_grpc(Some(&login.access_token)).await, Code::Unauthenticated);
    assert_eq!(refusal(&server.refresh(&login.refresh_token).await.expect_err("over")).1, "SESSION_ENDED");
}

async fn a8_claims_are_in_the_token_and_in_the_introspection(server: &TestServer) {
    let said = json!({ "phone_number": "+4915112345678", "permissions": ["orders.read", "orders.write"] });
    let request = v1::IssueTokenRequest {
        subject: "user-4711".to_owned(),
        claims: claims::given(&said),
        ..v1::IssueTokenRequest::default()
    };
    let token = server.issue(request).await.expect("issues").access_token;
    let payload = claims::payload(&token);
    assert_eq!(payload["sub"], "user-4711");
    let seen = server.introspect(&token).await;
    assert_eq!((seen.active, seen.subject.as_str()), (true, "user-4711"));
    assert_eq!(claims::answered(seen.claims.as_ref()), said);
    for name in ["phone_number", "permissions"] {
        assert_eq!(payload[name], said[name]);
    }
    let other = v1::IssueTokenRequest {
        subject: "user-4711".to_owned(),
        claims: claims::given(&json!({ "shoe_size": "43" })),
        ..v1::IssueTokenRequest::default()
    };
    assert_eq!(refusal(&server.issue(other).await.expect_err("not of this realm")).1, "CLAIM_NOT_ALLOWED");
}

async fn a11_sessions_on_several_devices_are_independent(server: &TestServer) {
    let devices = ["phone", "tablet", "laptop"];
    let mut sessions = Vec::new();
    for device in devices {
        sessions.push(server.login("dan", device).await);
    }
    let refreshed = server.refresh(&sessions[0].refresh_token).await.expect("refreshes");
    for other in &sessions[1..] {
        assert!(server.introspect(&other.access_token).await.active);
        assert!(server.introspect(&other.refresh_token).await.active, "not used up with the first");
    }
    server.revoke(&sessions[1].refresh_token).await;
    assert!(!server.introspect(&sessions[1].access_token).await.active);
    assert!(server.introspect(&refreshed.access_token).await.active);
    server.refresh(&sessions[2].refresh_token).await.expect("lives on");
    let listed: Vec<_> = server.sessions_of("dan").await.into_iter().map(|session| session.session_id).collect();
    assert_eq!(listed, [sessions[2].session_id.clone(), sessions[0].session_id.clone()]);
}

async fn a12_one_call_ends_all_sessions_of_a_subject(server: &TestServer) {
    let mut sessions = Vec::new();
    for device in 0..8 {
        sessions.push(server.login("eve", &device.to_string()).await);
    }
    let bystander = server.login("fay", "phone").await;
    let (realm, subject, reason) = (server.realm(), "eve".to_owned(), "stolen phone".to_owned());
    let request = v1::RevokeAllSessionsRequest { realm, subject, reason, ..Default::default() };
    let answer = server.sessions.clone().revoke_all_sessions(request).await.expect("revokes").into_inner();
    assert_eq!(answer.revoked_count, 8);
    for session in &sessions {
        assert!(!server.introspect(&session.access_token).await.active);
        assert_eq!(refusal(&server.refresh(&session.refresh_token).await.expect_err("over")).1, "SESSION_ENDED");
    }
    assert_eq!(server.sessions_of("eve").await, []);
    assert!(server.introspect(&bystander.access_token).await.active);
}
