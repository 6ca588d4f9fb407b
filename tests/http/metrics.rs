//! `/metrics`: what happened is there once, and nothing that clients said.

use crate::realm::Realm;
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
