//! Peers that begin TLS and go no further, beside an honest client that comes in after them.

use std::net::SocketAddr;
use std::time::Instant;

use futures::future::join_all;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::scene::{HANDSHAKE_TIMEOUT, PATIENCE, Scene, closed, serves};

/// The head of a record that promises 512 bytes of a handshake.
const PROMISE: &[u8] = &[22, 3, 1, 2, 0];

#[tokio::test(flavor = "multi_thread")]
async fn they_are_closed_in_time_and_others_are_served() {
    let mut scene = Scene::over_tls().await;
    for (name, says) in [("say nothing", &b""[..]), ("promise", PROMISE), ("plaintext", b"GET / HTTP/1.1\r\n\r\n")] {
        let (address, endpoint) = (scene.server.grpc(), scene.endpoint());
        let flood = || {
            let endpoint = endpoint.clone();
            async move {
                let begun = Instant::now();
                let mut silent = join_all((0..500).map(|_| silent(address, says))).await;
                serves(&mut TokenServiceClient::new(endpoint.connect().await.expect("connects"))).await;
                let served = begun.elapsed();
                join_all(silent.iter_mut().map(closed)).await;
                (served, begun.elapsed())
            }
        };
        let (served, took) = scene.survives(name, flood).await;
        println!("{name}: a newcomer served after {served:?}, all closed after {took:?}");
        // `closed` waits for less than the 75 s after which any silent peer is closed.
        assert!(name == "plaintext" || took >= HANDSHAKE_TIMEOUT, "{name}: {took:?}");
        scene.is_idle_again(name).await;
    }
    scene.ends().await;
}

/// More than handshakes have places: who comes after them waits until theirs end.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_there_are_places_for_delay_others_no_longer_than_the_timeout() {
    let scene = Scene::over_tls().await;
    let flood = join_all((0..1_200).map(|_| silent(scene.server.grpc(), b""))).await;
    let begun = Instant::now();
    let newcomer = tokio::time::timeout(PATIENCE, scene.endpoint().connect()).await.expect("let in");
    let mut newcomer = TokenServiceClient::new(newcomer.expect("connects"));
    serves(&mut newcomer).await;
    let waited = begun.elapsed();
    println!("let in after {waited:?}");
    assert!(waited < 3 * HANDSHAKE_TIMEOUT, "{waited:?}");
    drop((flood, newcomer));
    scene.is_idle_again("handshakes").await;
    scene.ends().await;
}

async fn silent(address: SocketAddr, says: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(says).await.expect("writes");
    stream
}
