//! Peers that keep the server waiting, beside an honest client: each in its own way silent, slow or
//! not taking what it asked for. The server lets go of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codegen::Bytes;

use super::raw_client::RawClient;
use super::scene::{MOST_GROWTH_OF_BATCHES_KIB, PATIENCE, PEER_TIMEOUT, Scene, closed, is_ready};

const GET_JWKS: &[u8] = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n";

/// A peer that calls, answers each ping, and takes no byte of an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_no_answer_is_left() {
    let mut scene = Scene::new(4_096).await;
    scene.most_growth_kib = MOST_GROWTH_OF_BATCHES_KIB;
    let login = v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() };
    let issued = scene.tokens.issue_token(login).await.expect("issues").into_inner().tokens.expect("tokens");
    let batch = v1::BatchIntrospectTokensRequest { tokens: vec![issued.access_token; 1_000], ..Default::default() };
    let message = Bytes::from(prost::Message::encode_to_vec(&batch));
    let address = scene.server.grpc();
    let closed_after = scene.survives("answers", || takes_nothing(address, message.clone())).await;
    println!("closed after {closed_after:?}");
    scene.is_idle_again("answers").await;
    // Each place that it held is free again.
    let answers = (0..32).map(|_| {
        let (endpoint, batch) = (scene.endpoint(), batch.clone());
        async move {
            let mut tokens = TokenServiceClient::new(endpoint.connect().await.expect("connects"));
            tokens.batch_introspect_tokens(batch).await.map(|answer| answer.into_inner().results.len())
        }
    });
    for answer in futures::future::join_all(answers).await {
        assert_eq!(answer.expect("served"), 1_000);
    }
    scene.ends().await;
}

/// A peer that asks for the key set again and again, and reads none of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_no_key_set_is_left() {
    let mut scene = Scene::new(4_096).await;
    let address = scene.server.http();
    let flood = move || async move {
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            let asking = async { while stream.write_all(GET_JWKS).await.is_ok() {} };
            // Until the server reads no more, since it can't write.
            let _ = tokio::time::timeout(Duration::from_secs(1), asking).await;
            streams.push(stream);
        }
        streams
    };
    let streams = scene.survives("key sets", flood).await;
    scene.is_idle_again("key sets").await;
    drop(streams);
    assert!(is_ready(address).await);
    scene.ends().await;
}

/// Peers that send the head of a request byte by byte, so that something moves all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_takes_too_long_is_not_waited_for() {
    let mut scene = Scene::new(4_096).await;
    let address = scene.server.http();
    let flood = move || async move {
        let slow = (0..200).map(|_| tokio::task::spawn(byte_by_byte(address)));
        tokio::time::timeout(PATIENCE, futures::future::join_all(slow)).await.expect("closed in time")
    };
    for took in scene.survives("slow heads", flood).await {
        let took = took.expect("ends");
        assert!(took >= PEER_TIMEOUT, "{took:?}");
    }
    scene.is_idle_again("slow heads").await;
    scene.ends().await;
}

/// Both listeners, with a silent peer at each connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_connections_cost_little_and_end() {
    let mut scene = Scene::new(4_096).await;
    let listeners = [scene.server.grpc(), scene.server.http()];
    let flood = move || async move {
        let mut silent = Vec::new();
        for number in 0..1_000 {
            silent.push(TcpStream::connect(listeners[number % 2]).await.expect("connects"));
        }
        silent
    };
    let mut silent = scene.survives("silent", flood).await;
    assert!(is_ready(scene.server.http()).await);
    for stream in &mut silent {
        closed(stream).await;
    }
    scene.is_idle_again("silent").await;
    scene.ends().await;
}

/// Calls 200 times; how long until it is closed.
async fn takes_nothing(address: SocketAddr, batch: Bytes) -> Duration {
    let mut client = RawClient::with_window(address, 0).await;
    let mut untaken = Vec::new();
    for number in 0..200 {
        let (path, message) = if number < 100 { ("BatchIntrospectTokens", &batch[..]) } else { ("GetJwks", &[][..]) };
        untaken.push(client.begin(&format!("/token_authority.v1.TokenService/{path}"), &[], message).await);
    }
    let begun = Instant::now();
    tokio::time::timeout(PATIENCE, client.closed()).await.expect("closed in time");
    begun.elapsed()
}

async fn byte_by_byte(address: SocketAddr) -> Duration {
    let begun = Instant::now();
    let (mut read, mut write) = TcpStream::connect(address).await.expect("connects").into_split();
    let writing = async {
        for byte in b"GET /livez HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! { () = writing => {} _ = read.read_to_end(&mut answer) => {} }
    begun.elapsed()
}
