//! Connections that were used for long enough: their clients are asked to open others, so that a balancer
//! of connections shares them out anew, and nobody loses a call.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use token_authority::client::AuthorityChannel;
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::net::TcpStream;
use tonic::transport::{Endpoint, Uri};

use super::raw_client::{RawClient, framed, taken};
use super::scene::PATIENCE;
use super::server_process::ServerProcess;

const AGE: Duration = Duration::from_secs(1);

fn server() -> (ServerProcess, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("server.toml");
    fs::write(&file, format!("[server]\nconnection_age = \"{}s\"\n", AGE.as_secs())).expect("writes");
    (ServerProcess::start(&["--config", file.to_str().expect("UTF-8")]), directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_one_takes_no_new_calls_and_ends_once_those_under_way_have() {
    let (server, _directory) = server();
    let mut client = RawClient::connect(server.grpc()).await;
    let begun = Instant::now();
    let message = framed(b"");
    let (answer, mut body) = client.open("/token_authority.v1.TokenService/GetJwks", &[]).await;
    body.send_data(message.slice(..2), false).expect("sends");
    let why = tokio::time::timeout(PATIENCE, client.told_to_go()).await.expect("told in time");
    assert!(begun.elapsed() >= AGE - Duration::from_millis(100), "{:?}", begun.elapsed());
    assert!(why.is_go_away() && why.is_remote() && why.reason() == Some(h2::Reason::NO_ERROR), "{why:?}");
    body.send_data(message.slice(2..), true).expect("sends");
    assert!(taken(answer).await.expect("finishes").len() > 5);
    tokio::time::timeout(PATIENCE, client.closed()).await.expect("closed in time");
}

/// Callers that share the SDK's channel, over as many connections as it takes.
#[tokio::test(flavor = "multi_thread")]
async fn who_reconnects_loses_no_call() {
    let (server, _directory) = server();
    let (address, opened) = (server.grpc(), Arc::new(AtomicUsize::new(0)));
    let counted = opened.clone();
    let connector = tower::service_fn(move |_: Uri| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { io::Result::Ok(TokioIo::new(TcpStream::connect(address).await?)) }
    });
    let endpoint = Endpoint::from_shared(server.endpoint()).expect("a URL");
    let channel = AuthorityChannel::from(endpoint.connect_with_connector(connector).await.expect("connects"));
    let begun = Instant::now();
    let callers = (0..8).map(|_| {
        let (mut tokens, opened) = (TokenServiceClient::new(channel.clone()), opened.clone());
        let unknown = v1::IntrospectTokenRequest { token: "x".into(), ..Default::default() };
        async move {
            let mut calls = 0;
            while opened.load(Ordering::SeqCst) < 4 {
                assert!(begun.elapsed() < PATIENCE, "no new connection after {calls} calls");
                tokens.introspect_token(unknown.clone()).await.expect("served");
                calls += 1;
            }
            calls
        }
    });
    let calls: usize = join_all(callers).await.into_iter().sum();
    println!("{calls} calls over 4 connections in {:.1?}, none lost", begun.elapsed());
    assert!(begun.elapsed() >= 3 * (AGE - Duration::from_millis(100)));
}
