//! Connections that were used for long enough: their clients are asked to open others, so that a balancer
//! of connections shares them out anew, and nobody loses a call.

use std::fs;
use std::time::{Duration, Instant};

use tempfile::TempDir;

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
