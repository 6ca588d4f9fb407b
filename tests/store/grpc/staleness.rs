//! A server that no longer hears of its Redis answers introspection from memory for a while, then not at
//! all: another server may have revoked the token meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use token_authority::app::Server;
use token_authority::config::{Config, CreateKey, StoreUrl};
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::system::{SystemClock, SystemEntropy};
use tonic::Code;

use crate::redis_server::RedisServer;
use crate::test_server::refusal;

#[tokio::test(flavor = "multi_thread")]
async fn introspection_goes_on_without_the_store_for_as_long_as_allowed() {
    let redis = RedisServer::start().await;
    let directory = TempDir::new().expect("a directory");
    let mut config = Config::on_free_ports(Path::new("unused"));
    config.store = StoreUrl::parse(&redis.url("test")).expect("a URL");
    config.encryption_key_file = Some(directory.path().join("kek"));
    config.create_key = CreateKey::IfMissing;
    config.max_staleness = Duration::from_secs(3);
    let server = Server::start_with(config, Arc::new(SystemClock::default()), Arc::new(SystemEntropy)).await;
    let server = server.expect("starts");
    let mut tokens = TokenServiceClient::connect(format!("http://{}", server.grpc_address())).await.expect("connects");
    let request = v1::IssueTokenRequest { subject: "alice".to_owned(), ..v1::IssueTokenRequest::default() };
    let pair = tokens.issue_token(request).await.expect("issues").into_inner().tokens.expect("tokens");
    let request = v1::IntrospectTokenRequest { token: pair.access_token, ..v1::IntrospectTokenRequest::default() };

    redis.pause();
    let mut answered = 0;
    let refused = async {
        loop {
            match tokens.introspect_token(request.clone()).await {
                Ok(answer) => {
                    assert!(answer.into_inner().active, "an outage is no revocation");
                    answered += 1;
                }
                Err(status) => break status,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(15), refused).await.expect("memory is not asked for ever");
    assert!(answered > 0, "memory answers at first");
    assert_eq!(refusal(&refused), (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()));

    redis.resume();
    let back = async {
        while tokens.introspect_token(request.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("answers again");
    server.stop().await;
}
