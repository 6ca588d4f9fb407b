//! SIGTERM beside clients that never let go: the server leaves in time, and what it acknowledged is
//! there when it starts again.

use std::time::Duration;

use tempfile::TempDir;
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::server_process::ServerProcess;

async fn connect(server: &ServerProcess) -> Channel {
    Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_in_time_whatever_clients_hold_open() {
    let directory = TempDir::new().expect("a directory");
    let mut server = ServerProcess::start_in(directory.path(), &[]);
    let channel = connect(&server).await;
    let request = v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() };
    let issued = TokenServiceClient::new(channel.clone()).issue_token(request).await.expect("issues");
    let token = issued.into_inner().tokens.expect("tokens").access_token;

    let ask = HealthCheckRequest { service: String::new() };
    let mut watch = HealthClient::new(channel.clone()).watch(ask).await.expect("watches").into_inner();
    assert_eq!(watch.message().await.expect("a status").expect("one").status(), ServingStatus::Serving);
    let mut held = Vec::new();
    for (address, half) in [
        (server.grpc(), &b""[..]),
        (server.grpc(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (server.http(), b""),
        (server.http(), b"GET /livez HTTP/1.1\r\nHost:"),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(half).await.expect("writes");
        held.push(stream);
    }

    let (stopped, took) = tokio::task::spawn_blocking(move || {
        let begun = std::time::Instant::now();
        (server.terminate(), begun.elapsed())
    })
    .await
    .expect("stops");
    assert!(stopped.success(), "{stopped:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(watch.message().await.expect("told first").expect("one").status(), ServingStatus::NotServing);
    drop(held);

    let server = ServerProcess::start_in(directory.path(), &[]);
    let request = v1::IntrospectTokenRequest { token, ..Default::default() };
    let answer = TokenServiceClient::new(connect(&server).await).introspect_token(request).await;
    // The issuer is the HTTP address, which is another one now: earlier ones are remembered.
    assert!(answer.expect("answers").into_inner().active, "what was acknowledged is durable");
}
