//! What surrounds the services: health, reflection, key sets and probes over HTTP.

use std::net::SocketAddr;

use token_authority::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::test_server::TestServer;

pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    get_with(address, path, "").await
}

pub(crate) async fn get_with(address: SocketAddr, path: &str, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_set_is_public_and_the_same_on_both_edges() {
    let server = TestServer::start().await;
    let (head, body) = get(server.http(), "/.well-known/jwks.json").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("cache-control: public, max-age=300"), "{head}");
    let set: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let key = &set["keys"][0];
    assert_eq!(
        (key["kty"].as_str(), key["alg"].as_str(), key["use"].as_str()),
        (Some("RSA"), Some("RS256"), Some("sig"))
    );
    for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
        assert!(key.get(private).is_none(), "{private}");
    }
    let answer = server.tokens.clone().get_jwks(v1::GetJwksRequest::default()).await.expect("answers").into_inner();
    assert_eq!(answer.jwks_json, body.as_bytes());
    assert_eq!(Some(answer.keys[0].kid.as_str()), key["kid"].as_str());
    assert_eq!(get(server.http(), "/realms/default/.well-known/jwks.json").await.1, body);
    assert!(get(server.http(), "/realms/nowhere/.well-known/jwks.json").await.0.starts_with("HTTP/1.1 404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_that_the_caller_has_is_not_sent_again() {
    let server = TestServer::start().await;
    let path = "/.well-known/jwks.json";
    let (head, body) = get(server.http(), path).await;
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("an ETag").to_owned();
    for fresh in [tag.clone(), format!("\"other\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
        let (head, body) = get_with(server.http(), path, &format!("If-None-Match: {fresh}\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 304") && head.contains(&tag) && head.contains("max-age=300"), "{head}");
        assert_eq!(body, "");
    }
    assert_eq!(get_with(server.http(), path, "If-None-Match: \"other\"\r\n").await.1, body);
    server.keys.clone().prepare_key(v1::PrepareKeyRequest::default()).await.expect("a key");
    let (head, more) = get_with(server.http(), path, &format!("If-None-Match: {tag}\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains(&tag) && more.len() > body.len(), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_tell_alive_and_ready() {
    let server = TestServer::start().await;
    for path in ["/livez", "/readyz"] {
        assert!(get(server.http(), path).await.0.starts_with("HTTP/1.1 200"), "{path}");
    }
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", server.grpc())).expect("an address");
    let mut health = HealthClient::new(channel.connect().await.expect("connects"));
    let services =
        ["TokenService", "SessionService", "KeyService", "OtpService"].map(|name| format!("token_authority.v1.{name}"));
    for service in ["", "liveness", "readiness"].map(str::to_owned).into_iter().chain(services) {
        let answer = health.check(HealthCheckRequest { service: service.clone() }).await.expect("known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let server = TestServer::start().await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", server.grpc())).expect("an address");
    let mut reflection = ServerReflectionClient::new(channel.connect().await.expect("connects"));
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection.server_reflection_info(tokio_stream::once(ask)).await.expect("answers").into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in ["token_authority.v1.TokenService", "token_authority.v1.SessionService", "grpc.health.v1.Health"] {
        assert!(names.contains(&service), "{names:?}");
    }
}
