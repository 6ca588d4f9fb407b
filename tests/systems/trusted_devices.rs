//! B. `trusted-devices`: session management with device recognition.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt as _;
use serde_json::json;
use token_authority::client::TokenSource;
use token_authority::config::Config;
use token_authority::domain::policy::RealmPolicy;
use token_authority::proto::v1;
use token_authority::proto::v1::watch_sessions_response::Event;
use tonic::Code;

use crate::boot::{realm_file, start_with};
use crate::protected::to_authority;
use crate::rows::rows;
use crate::test_server::{TestServer, refusal};
use crate::{boot, claims, kept};

use callers::b4_users_end_their_own_sessions_and_administrators_those_of_anybody;
use devices::{
    b2_sessions_and_devices_are_listed_each_device_once, b7_an_untrusted_device_gets_the_shorter_lifetimes,
    b9_what_devices_do_at_once_happens_in_one_order, trust,
};

mod callers;
mod devices;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

rows! { "trusted-devices":
    b1_lifetimes_are_the_operators_within_bounds_that_a_start_checks,
    b2_sessions_and_devices_are_listed_each_device_once,
    b3_half_an_hour_without_activity_ends_a_session_and_its_access_token,
    b4_users_end_their_own_sessions_and_administrators_those_of_anybody,
    b5_the_other_device_sees_what_happens,
    b7_an_untrusted_device_gets_the_shorter_lifetimes,
    b9_what_devices_do_at_once_happens_in_one_order,
    b10_nothing_at_rest_can_be_read,
    b11_a_logout_ends_everything_the_session_had,
    b12_sessions_are_created_refreshed_revoked_and_listed_over_grpc,
    b13_nobody_waits_for_a_refresh_while_a_token_is_valid,
}

async fn b1_lifetimes_are_the_operators_within_bounds_that_a_start_checks(server: &TestServer) {
    for (access, session) in [(15 * MINUTE, 7 * DAY), (60 * MINUTE, 30 * DAY)] {
        let choice = |config: &mut Config| {
            let policy = policy(config);
            (policy.access_lifetime, policy.session_lifetime, policy.idle_timeout) = (access, session, None);
            (policy.devices.untrusted_access_lifetime, policy.devices.untrusted_session_lifetime) = (None, None);
        };
        let chosen = start_with(&server.realm(), server.backend().store(), choice).await;
        let login = chosen.login("ann", "phone").await;
        let issued = claims::payload(&login.access_token)["iat"].as_i64().unwrap();
        let until =
            |time: Option<prost_types::Timestamp>| Duration::from_secs((time.unwrap().seconds - issued).unsigned_abs());
        assert_eq!((until(login.access_expire_time), until(login.refresh_expire_time)), (access, session));
        boot::stop(chosen).await;
    }

    let directory = tempfile::tempdir().expect("a directory");
    let text = std::fs::read_to_string(realm_file("trusted-devices")).expect("the realm file");
    for (line, instead, says) in [
        ("access_lifetime = \"60m\"", "access_lifetime = \"25h\"", "from 1s to 1day"),
        ("access_lifetime = \"60m\"", "access_lifetime = \"0s\"", "from 1s to 1day"),
        ("access_lifetime = \"60m\"", "access_lifetime = \"soon\"", "from 1s to 1day"),
        ("session_lifetime = \"30d\"", "session_lifetime = \"366d\"", "from 1s to "),
        ("session_lifetime = \"30d\"", "session_lifetime = \"10m\"", "must not be shorter than access_lifetime = 1h"),
    ] {
        assert!(text.contains(line));
        let file = directory.path().join("realm.toml");
        std::fs::write(&file, text.replacen(line, instead, 1)).expect("writes");
        let number = 1 + text.lines().position(|given| given == line).expect("that line");
        let said = refused_start(&file, directory.path());
        let place = format!("{}:{number}: realm.", file.display());
        assert!(said.contains(&place) && said.contains(says), "{place} {says} in:\n{said}");
    }
}

/// The realm's policy, to be changed as an operator would in its file.
fn policy(config: &mut Config) -> &mut RealmPolicy {
    config.realms.iter_mut().find(|policy| policy.realm.as_str() == "trusted-devices").expect("the realm")
}

/// What `serve` says to a file with which it does not start.
fn refused_start(file: &Path, directory: &Path) -> String {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_token-authority"));
    serve.env_clear().args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--config"]).arg(file);
    let output = serve.current_dir(directory).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

async fn b3_half_an_hour_without_activity_ends_a_session_and_its_access_token(server: &TestServer) {
    // On a trusted device, where an access token would live for an hour.
    for subject in ["ann", "ben"] {
        server.login(subject, "phone").await;
        trust(server, subject, "phone").await;
    }
    let [active, inactive] = [server.login("ann", "phone").await, server.login("ben", "phone").await];
    server.pass(29 * MINUTE);
    assert!(server.introspect(&inactive.refresh_token).await.active);
    let active = server.refresh(&active.refresh_token).await.expect("29 minutes are not too long");
    server.pass(2 * MINUTE);
    assert!(!server.introspect(&inactive.access_token).await.active, "no access token outlives its session");
    assert_eq!(refusal(&server.refresh(&inactive.refresh_token).await.expect_err("31 minutes")).1, "SESSION_IDLE");
    assert_eq!(server.sessions_of("ben").await, []);
    assert!(server.introspect(&active.access_token).await.active);
}

async fn b5_the_other_device_sees_what_happens(server: &TestServer) {
    use v1::SessionChangeKind as Kind;
    let laptop = server.login("cleo", "laptop").await;
    let request = v1::WatchSessionsRequest { realm: server.realm(), subject: "cleo".to_owned() };
    let mut stream = server.sessions.clone().watch_sessions(request).await.expect("watches").into_inner();
    let mut next = async || {
        loop {
            let message = stream.message().await.expect("goes on").expect("goes on");
            match message.event.expect("an event") {
                Event::Snapshot(snapshot) => return (None, snapshot.sessions),
                Event::Change(change) => return (Some(change.kind()), change.session.into_iter().collect()),
                Event::Heartbeat(_) => {}
            }
        }
    };
    assert_eq!(next().await.1[0].session_id, laptop.session_id);
    let phone = server.login("cleo", "phone").await;
    let (kind, sessions) = next().await;
    assert_eq!((kind, &sessions[0].session_id), (Some(Kind::Opened), &phone.session_id));
    server.refresh(&phone.refresh_token).await.expect("refreshes");
    let (kind, sessions) = next().await;
    assert_eq!((kind, sessions[0].generation), (Some(Kind::Refreshed), 1));
    revoke_session(server, &phone.session_id).await;
    let (kind, sessions) = next().await;
    assert_eq!((kind, &sessions[0].session_id), (Some(Kind::Ended), &phone.session_id));
}

async fn b10_nothing_at_rest_can_be_read(server: &TestServer) {
    const PHONE: &str = "+4915112345678";
    let request = v1::IssueTokenRequest {
        subject: "planted-subject".to_owned(),
        claims: claims::given(&json!({ "phone_number": PHONE })),
        device: Some(v1::Device { device_id: "planted-device".to_owned(), ..v1::Device::default() }),
        ..v1::IssueTokenRequest::default()
    };
    let login = server.issue(request).await.expect("issues");
    let next = server.refresh(&login.refresh_token).await.expect("refreshes");
    let jwks = v1::GetJwksRequest { realm: server.realm() };
    let keys = server.tokens.clone().get_jwks(jwks).await.expect("answers").into_inner().keys;
    // A private key is kept with its public half: where that is not to be found, neither is the key.
    let points: Vec<_> = keys.iter().map(|key| URL_SAFE_NO_PAD.decode(&key.x).expect("base64url")).collect();

    let dump = kept::dump(&server.backend());
    assert!(kept::contains(&dump, b"trusted-devices"), "the search finds what is there");
    let tokens = [&login, &next].map(|tokens| [tokens.access_token.as_bytes(), tokens.refresh_token.as_bytes()]);
    let signatures = [&login, &next].map(|tokens| tokens.access_token.rsplit('.').next().unwrap().as_bytes());
    let planted = [PHONE.as_bytes(), b"phone_number", b"planted-subject", b"planted-device"];
    let secrets = tokens.iter().flatten().chain(&signatures).chain(&planted).copied();
    for secret in secrets.chain(points.iter().map(Vec::as_slice)) {
        assert!(!kept::contains(&dump, secret), "{}", String::from_utf8_lossy(secret));
    }
    assert!(points.len() >= 2, "an active key and its standby");
}

async fn b11_a_logout_ends_everything_the_session_had(server: &TestServer) {
    for way in ["by refresh token", "by access token", "by session"] {
        let login = server.login("ann", "phone").await;
        let next = server.refresh(&login.refresh_token).await.expect("refreshes");
        match way {
            "by refresh token" => drop(server.revoke(&next.refresh_token).await),
            "by access token" => drop(server.revoke(&next.access_token).await),
            _ => revoke_session(server, &next.session_id).await,
        }
        for access in [&login.access_token, &next.access_token] {
            assert!(!server.introspect(access).await.active, "{way}");
        }
        for refresh in [&login.refresh_token, &next.refresh_token] {
            assert!(!server.introspect(refresh).await.active, "{way}");
            assert_eq!(refusal(&server.refresh(refresh).await.expect_err(way)).1, "SESSION_ENDED");
        }
    }
}

async fn revoke_session(server: &TestServer, session_id: &str) {
    let (realm, session_id) = (server.realm(), session_id.to_owned());
    let request = v1::RevokeSessionRequest { realm, session_id, ..Default::default() };
    server.sessions.clone().revoke_session(request).await.expect("revokes");
}

async fn b12_sessions_are_created_refreshed_revoked_and_listed_over_grpc(server: &TestServer) {
    let [phone, tablet, laptop] =
        [server.login("ann", "phone").await, server.login("ann", "tablet").await, server.login("ann", "laptop").await];
    let listed = async || {
        let sessions = server.sessions_of("ann").await;
        sessions.into_iter().map(|session| (session.session_id, session.generation)).collect::<Vec<_>>()
    };
    server.refresh(&phone.refresh_token).await.expect("refreshes");
    let session = |tokens: &v1::TokenPair, generation| (tokens.session_id.clone(), generation);
    assert_eq!(listed().await, [session(&laptop, 0), session(&tablet, 0), session(&phone, 1)]);
    revoke_session(server, &tablet.session_id).await;
    assert_eq!(listed().await, [session(&laptop, 0), session(&phone, 1)]);
    let all = v1::RevokeAllSessionsRequest { realm: server.realm(), subject: "ann".to_owned(), ..Default::default() };
    let answer = server.sessions.clone().revoke_all_sessions(all).await.expect("revokes").into_inner();
    assert_eq!((answer.revoked_count, listed().await), (2, vec![]));
}

async fn b13_nobody_waits_for_a_refresh_while_a_token_is_valid(server: &TestServer) {
    let login = server.login("ann", "phone").await;
    let source = TokenSource::builder(to_authority(server)).realm(&server.realm()).clock(server.clock());
    let source = source.start(login.clone()).await.expect("starts");
    let mut last = login.access_token;
    for _ in 0..5 {
        // Time for the next token, while this one is good for some minutes.
        server.pass(12 * MINUTE);
        for _ in 0..10 {
            // Answered as soon as it is asked: whoever waited would have to be asked again.
            let token = source.token().now_or_never().expect("nobody waits").expect("a token");
            assert_eq!(token.expose(), last);
        }
        source.finished().await;
        let next = source.token().now_or_never().expect("nobody waits").expect("a token");
        assert_ne!(next.expose(), last, "it was refreshed meanwhile");
        assert!(server.introspect(next.expose()).await.active);
        last = next.expose().to_owned();
    }
    server.pass(15 * MINUTE);
    assert!(source.token().now_or_never().is_none(), "only without a valid token is there something to wait for");
    let refused = server.refresh(&login.refresh_token).await.expect_err("used long ago");
    assert_eq!(refused.code(), Code::InvalidArgument);
}
