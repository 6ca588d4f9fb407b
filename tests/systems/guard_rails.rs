//! E. `guard-rails`: the deliberately simple one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use token_authority::domain::ids::Sid;
use token_authority::proto::v1;
use token_authority::proto::v1::TokenKind;
use token_authority::proto::v1::revocation_entry::Target;
use token_authority::proto::v1::watch_revocations_response::Event;
use tonic::{Code, Status};

use crate::boot::apart;
use crate::rows::rows;
use crate::test_server::{TestServer, refusal};
use crate::wire::get;
use crate::{claims, gateway, kept};

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// How much longer an entry is kept than the token lives: clocks differ.
const SLACK: i64 = 60;

rows! { "guard-rails":
    e1_there_are_two_tokens_and_no_refresh_moves_the_end,
    e2_the_payload_has_six_claims_and_no_other_gets_in,
    e3_the_key_is_in_no_key_set_and_services_introspect,
    e4_a_refresh_leaves_the_refresh_token_as_it_is,
    e5_a_logout_is_kept_as_long_as_the_token_would_have_lived,
    e9_all_that_is_stored_has_an_end,
}

/// Nobody logs in without these claims.
fn claimed() -> Value {
    json!({ "phone_number": "+4915112345678", "role": "courier" })
}

async fn login(server: &TestServer, subject: &str) -> v1::TokenPair {
    issue(server, subject, &claimed()).await.expect("issues")
}

async fn issue(server: &TestServer, subject: &str, said: &Value) -> Result<v1::TokenPair, Status> {
    let (subject, claims) = (subject.to_owned(), claims::given(said));
    server.issue(v1::IssueTokenRequest { subject, claims, ..v1::IssueTokenRequest::default() }).await
}

async fn e1_there_are_two_tokens_and_no_refresh_moves_the_end(server: &TestServer) {
    let login = login(server, "ann").await;
    let kinds = [&login.access_token, &login.refresh_token].map(|token| server.introspect(token));
    let [access, refresh] = kinds;
    assert_eq!((access.await.token_kind(), refresh.await.token_kind()), (TokenKind::Access, TokenKind::Refresh));
    let issued = claims::payload(&login.access_token)["iat"].as_i64().unwrap();
    let lives = |time: Option<prost_types::Timestamp>| time.unwrap().seconds - issued;
    assert_eq!((lives(login.access_expire_time), lives(login.refresh_expire_time)), (900, 7 * 86_400));
    for _ in 0..6 {
        server.pass(DAY);
        let next = server.refresh(&login.refresh_token).await.expect("refreshes");
        assert_eq!(next.refresh_expire_time, login.refresh_expire_time);
    }
    server.pass(DAY - Duration::from_secs(1));
    let last = server.refresh(&login.refresh_token).await.expect("its last second");
    assert_eq!(last.access_expire_time, login.refresh_expire_time, "no access token outlives it");
    server.pass(Duration::from_secs(1));
    assert_eq!(refusal(&server.refresh(&login.refresh_token).await.expect_err("over")).1, "REFRESH_TOKEN_EXPIRED");
    assert!(!server.introspect(&last.access_token).await.active);
}

async fn e2_the_payload_has_six_claims_and_no_other_gets_in(server: &TestServer) {
    const LOCKED: [&str; 6] = ["exp", "iat", "jti", "phone_number", "role", "user_id"];
    let login = login(server, "ann").await;
    let next = server.refresh(&login.refresh_token).await.expect("refreshes");
    for tokens in [&login, &next] {
        let payload = claims::payload(&tokens.access_token);
        let names: BTreeSet<_> = payload.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(LOCKED));
        let said = claimed();
        assert_eq!(
            (&payload["user_id"], &payload["role"], &payload["phone_number"]),
            (&json!("ann"), &said["role"], &said["phone_number"])
        );
        assert!(server.introspect(&tokens.access_token).await.active, "what was left out is known all the same");
    }
    let with = |name: &str, value: Value| {
        let mut said = claimed();
        said[name] = value;
        said
    };
    for said in [
        with("email", json!("ann@example.com")),
        with("user_id", json!("ben")),
        with("sub", json!("ben")),
        with("aud", json!("elsewhere")),
        with("role", json!(["courier", "admin"])),
        json!({ "role": "courier" }),
    ] {
        let refused = issue(server, "ann", &said).await.expect_err("no such token");
        assert_eq!(refusal(&refused), (Code::InvalidArgument, "CLAIM_NOT_ALLOWED".to_owned()), "{said}");
    }
}

async fn e3_the_key_is_in_no_key_set_and_services_introspect(server: &TestServer) {
    let login = login(server, "ann").await;
    assert_eq!(claims::header(&login.access_token)["alg"], "HS256");
    let by_http = get(server.http(), "/realms/guard-rails/.well-known/jwks.json").await;
    assert_eq!((by_http.status, by_http.json()), (200, json!({ "keys": [] })));
    let by_grpc = v1::GetJwksRequest { realm: server.realm() };
    let by_grpc = server.tokens.clone().get_jwks(by_grpc).await.expect("answers").into_inner();
    assert_eq!((by_grpc.keys, by_grpc.jwks_json), (vec![], br#"{"keys":[]}"#.to_vec()));

    let seen = server.introspect(&login.access_token).await;
    assert_eq!((seen.active, seen.subject.as_str()), (true, "ann"));
    let bearer = format!("Bearer {}", login.access_token);
    assert_eq!(gateway::ask(server, &[("authorization", &bearer)]).await.0, 200, "a gateway asks as well");
    server.revoke(&login.access_token).await;
    assert!(!server.introspect(&login.access_token).await.active);
    assert_eq!(gateway::ask(server, &[("authorization", &bearer)]).await.0, 401);
}

async fn e4_a_refresh_leaves_the_refresh_token_as_it_is(server: &TestServer) {
    let login = login(server, "ann").await;
    let mut ids = vec![claims::payload(&login.access_token)["jti"].clone()];
    for _ in 0..5 {
        server.pass(Duration::from_secs(30));
        let next = server.refresh(&login.refresh_token).await.expect("refreshes");
        assert_eq!(next.refresh_token, login.refresh_token);
        let id = claims::payload(&next.access_token)["jti"].clone();
        assert!(!ids.contains(&id), "a new token");
        ids.push(id);
    }
}

async fn e5_a_logout_is_kept_as_long_as_the_token_would_have_lived(server: &TestServer) {
    let login = login(server, "ann").await;
    server.pass(Duration::from_secs(300));
    server.revoke(&login.access_token).await;
    assert!(!server.introspect(&login.access_token).await.active);
    assert!(!server.introspect(&login.refresh_token).await.active);
    assert_eq!(refusal(&server.refresh(&login.refresh_token).await.expect_err("deleted")).1, "SESSION_ENDED");

    let sid = Sid::parse(&login.session_id).expect("a sid");
    let target = Some(Target::Session(sid.session.0.to_vec()));
    let entries = revocations(server).await;
    let entry = entries.iter().find(|entry| entry.target == target).expect("an entry");
    let longer = entry.expire_time.unwrap().seconds - login.access_expire_time.unwrap().seconds;
    assert!((0..=SLACK).contains(&longer), "{longer} s longer");
}

/// Every revocation that is in force.
async fn revocations(server: &TestServer) -> Vec<v1::RevocationEntry> {
    let request = v1::WatchRevocationsRequest { realm: server.realm(), ..Default::default() };
    let mut stream = server.tokens.clone().watch_revocations(request).await.expect("watches").into_inner();
    let mut entries = Vec::new();
    loop {
        let message = stream.message().await.expect("goes on").expect("a message");
        let Some(Event::Snapshot(chunk)) = message.event else { panic!("no snapshot") };
        entries.extend(chunk.entries);
        if chunk.complete {
            return entries;
        }
    }
}

async fn e9_all_that_is_stored_has_an_end(server: &TestServer) {
    for after in ["a look", "its end"] {
        let busy = apart(server).await;
        for subject in ["ann", "ben", "cat"] {
            let refreshed = login(&busy, subject).await;
            busy.refresh(&refreshed.refresh_token).await.expect("refreshes");
            let ended = login(&busy, subject).await;
            busy.revoke(&ended.access_token).await;
        }
        match after {
            "a look" => kept::all_of_it_ends(busy, WEEK).await,
            _ => kept::nothing_is_left_after(busy, WEEK).await,
        }
    }
}
