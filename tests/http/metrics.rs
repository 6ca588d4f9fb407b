//! `/metrics`: what happened is there once, and nothing that clients said.

use std::time::Duration;

use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::RealmName;
use token_authority::proto::v1;

use crate::realm::Realm;
use crate::test_server::TestServer;
use crate::wire::{get, send};

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_counted_once_and_nobody_is_named() {
    let realm = Realm::start().await;
    let tokens = realm.login("planted-subject").await;
    for _ in 0..3 {
        realm.server.refresh("planted-token").await.expect_err("no refresh token");
    }
    assert!(realm.is_active(&tokens.access_token).await);
    get(realm.server.http(), "/planted-path").await;
    send(realm.server.http(), "PLANTED", "/oauth2/token", &[], "").await;
    realm.post("planted-client", "token", &[("grant_type", "planted-grant")]).await;

    let answer = get(realm.server.http(), "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")));
    let counts = |start: &str| answer.body.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    let rpc =
        "rpc_server_call_duration_seconds_count{rpc_system_name=\"grpc\",rpc_method=\"token_authority.v1.TokenService/";
    let expected = [
        format!("{rpc}IssueToken\",rpc_response_status_code=\"OK\",error_type=\"\"}} 1"),
        format!(
            "{rpc}RefreshToken\",rpc_response_status_code=\"INVALID_ARGUMENT\",error_type=\"REFRESH_TOKEN_INVALID\"}} 3"
        ),
    ];
    let mut calls = counts("rpc_server_call_duration_seconds_count");
    calls.sort_unstable();
    assert_eq!(calls, expected);
    let http = "http_server_request_duration_seconds_count{http_request_method=";
    let mut requests = counts(http);
    requests.sort_unstable();
    let expected = [
        format!("{http}\"POST\",http_route=\"/oauth2/introspect\",http_response_status_code=\"200\"}} 1"),
        format!("{http}\"POST\",http_route=\"/oauth2/token\",http_response_status_code=\"401\"}} 1"),
        format!("{http}\"_OTHER\",http_route=\"/oauth2/token\",http_response_status_code=\"405\"}} 1"),
    ];
    assert_eq!(requests, expected);
    for present in [
        "store_operation_duration_seconds_count{operation=\"commit\",outcome=\"ok\"}",
        "signing_queue_waiting 0",
        "revocation_log_staleness_seconds ",
        "server_ready 1",
    ] {
        assert!(answer.body.contains(present), "{present} in:\n{}", answer.body);
    }
    for absent in ["planted", "PLANTED", tokens.session_id.as_str()] {
        assert!(!answer.body.contains(absent), "{absent} in:\n{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_age_of_each_active_key_is_there_and_starts_over_with_the_next() {
    let server = TestServer::start_configured(|config| {
        let mut web = config.realms[0].clone();
        web.realm = RealmName::parse("web").expect("a realm");
        web.algorithm = Algorithm::Es256;
        web.keys.algorithms = [Algorithm::EdDsa].into();
        config.realms.push(web);
    })
    .await;
    let ages = async || {
        let answer = get(server.http(), "/metrics").await;
        let ages = answer.body.lines().filter_map(|line| line.strip_prefix("signing_key_age_seconds"));
        let mut ages: Vec<_> = ages.map(str::to_owned).collect();
        ages.sort_unstable();
        ages
    };
    server.pass(Duration::from_secs(3_600));
    let web = [r#"{realm="web",algorithm="ES256"} 3600.0"#, r#"{realm="web",algorithm="EdDSA"} 3600.0"#];
    assert_eq!(ages().await, [r#"{realm="default",algorithm="RS256"} 3600.0"#, web[0], web[1]]);

    let activate = v1::ActivateKeyRequest { immediate: true, ..v1::ActivateKeyRequest::default() };
    server.keys.clone().activate_key(activate).await.expect("the standby takes over");
    assert_eq!(ages().await, [r#"{realm="default",algorithm="RS256"} 0.0"#, web[0], web[1]]);
}
