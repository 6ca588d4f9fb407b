//! `kill -9` under mixed load, again and again on one store: every acknowledged fact is there
//! afterwards, and a call whose answer was cut off can be repeated.

use tempfile::TempDir;
use tonic::transport::Channel;

use crate::history::{clients, conclude, under_load};
use crate::server_process::ServerProcess;

const KILLS: usize = 10;
const CLIENTS: usize = 8;
/// Acknowledged changes between two kills.
const LOAD: u64 = 150;

async fn connect(server: &ServerProcess) -> [Channel; 1] {
    [Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects")]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let directory = TempDir::new().expect("a directory");
    let config = directory.path().join("config.toml");
    // A restart on a loaded machine may take longer than the default leeway.
    std::fs::write(&config, "[realm]\nname = \"default\"\nreuse_leeway = \"60s\"\n").expect("writes");
    let start = || ServerProcess::start_in(directory.path(), &["--config", config.to_str().expect("a path")]);

    let mut server = start();
    let mut clients = clients(CLIENTS, &connect(&server).await);
    for _ in 0..KILLS {
        // Killed once enough was acknowledged, in the middle of whatever is under way.
        clients = under_load(clients, async |progress| {
            progress.further(LOAD).await;
            server.kill9();
        })
        .await;
        server = start();
        let channels = connect(&server).await;
        for client in &mut clients {
            client.reconnect(&channels);
            client.check().await;
        }
    }
    let counts = conclude(&format!("{KILLS} kills"), &mut clients).await;
    assert!(counts.acknowledged >= LOAD * KILLS as u64, "too little was done to mean anything");
}
