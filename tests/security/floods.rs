//! Peers that send more frames than anybody needs, beside an honest client of the real server: it is
//! served all the while, the server's memory stays bounded, and afterwards it is as idle as before.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::raw_client::RawClient;
use super::scene::{Scene, is_ready};
use super::server_process::ServerProcess;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `:method: POST`, `:scheme: http`, `:path: /` from the static table (RFC 7541, appendix A).
const REQUEST: &[u8] = &[0x83, 0x86, 0x84];

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_neither_stop_others_nor_grow_the_server() {
    let mut scene = Scene::new(4_096).await;
    for kind in ["resets", "streams", "continuations", "metadata", "pings", "settings"] {
        let address = scene.server.grpc();
        let was_ended = scene.survives(kind, move || frames(kind, address)).await;
        assert!(was_ended || !matches!(kind, "resets" | "streams" | "continuations"), "{kind}");
        scene.is_idle_again(kind).await;
    }
    assert!(is_ready(scene.server.http()).await);
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_taken_up_to_16_kib() {
    let server = ServerProcess::start(&[]);
    for (bytes, status) in [(12_000, 200), (20_000, 431)] {
        let mut client = RawClient::connect(server.grpc()).await;
        let value = "y".repeat(bytes);
        let begun = client.begin("/token_authority.v1.TokenService/GetJwks", &[("x", &value)], b"").await;
        let answer = begun.await.expect("an answer");
        assert_eq!(answer.status(), status, "{bytes}");
    }
}

/// Whether the server ended the flood before it was over.
async fn frames(kind: &'static str, address: SocketAddr) -> bool {
    let most = if matches!(kind, "streams" | "metadata") { 20_000 } else { 100_000 };
    let written = match kind {
        "resets" => {
            let one = |n: u32| [frame(1, 4, 2 * n + 1, REQUEST), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat();
            write(address, most, one).await
        }
        "streams" => write(address, most, |n| frame(1, 4, 2 * n + 1, REQUEST)).await,
        "continuations" => {
            let more = [&[0, 1, b'x', 0x7f, 0x81, 0x1e][..], &[b'y'; 285]].concat();
            write(address, most, |n| if n == 0 { frame(1, 0, 1, REQUEST) } else { frame(9, 0, 1, &more) }).await
        }
        "metadata" => {
            // A header of 20,000 bytes (RFC 7541, sections 5.1 and 6.2.2), in two frames.
            let block = [REQUEST, &[0, 1, b'x', 0x7f, 0xa1, 0x9b, 1], &[b'y'; 20_000]].concat();
            let (head, rest) = block.split_at(16_384);
            let one = |n: u32| [frame(1, 1, 2 * n + 1, head), frame(9, 4, 2 * n + 1, rest)].concat();
            write(address, most, one).await
        }
        "pings" => write(address, most, |_| frame(6, 0, 0, &[7; 8])).await,
        "settings" => write(address, most, |_| frame(4, 0, 0, &[])).await,
        other => panic!("{other}"),
    };
    written < most
}

/// Writes until the server has had enough of it, `most` times or two seconds at the most.
async fn write(address: SocketAddr, most: u32, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let (mut read, mut write) = TcpStream::connect(address).await.expect("connects").into_split();
    write.write_all(PREFACE).await.expect("writes");
    let mut sink = tokio::io::sink();
    let written = AtomicU32::new(0);
    let writing = async {
        for number in 0..most {
            if write.write_all(&next(number)).await.is_err() {
                break;
            }
            written.fetch_add(1, Ordering::Relaxed);
        }
    };
    let reading = async { tokio::io::copy(&mut read, &mut sink).await };
    let both = async {
        tokio::select! { () = writing => {} _ = reading => {} }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), both).await;
    written.into_inner()
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
