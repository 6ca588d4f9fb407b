//! Peers that ask for too much, beside an honest client of the real server: it is served all the
//! while, and the server's memory stays bounded.

use std::net::SocketAddr;
use std::time::Duration;

use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use self::server_process::ServerProcess;

#[path = "../grpc/server_process.rs"]
mod server_process;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const MOST_GROWTH_KIB: u64 = 200 << 10;

fn memory_kib(server: &ServerProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Writes until the server has had enough of it, `most` times or two seconds at the most.
async fn write(address: SocketAddr, most: u32, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let (mut read, mut write) = TcpStream::connect(address).await.expect("connects").into_split();
    write.write_all(PREFACE).await.expect("writes");
    let mut sink = tokio::io::sink();
    let written = std::sync::atomic::AtomicU32::new(0);
    let writing = async {
        for number in 0..most {
            if write.write_all(&next(number)).await.is_err() {
                break;
            }
            written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let reading = async { tokio::io::copy(&mut read, &mut sink).await };
    let both = async {
        tokio::select! { () = writing => {} _ = reading => {} }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), both).await;
    written.into_inner()
}

async fn flood(kind: &str, address: SocketAddr) -> u32 {
    // `:method: POST`, `:scheme: http`, `:path: /` from the static table (RFC 7541, appendix A).
    const REQUEST: &[u8] = &[0x83, 0x86, 0x84];
    match kind {
        "resets" => {
            let one = |n: u32| [frame(1, 4, 2 * n + 1, REQUEST), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat();
            write(address, 100_000, one).await
        }
        "streams" => write(address, 20_000, |n| frame(1, 4, 2 * n + 1, REQUEST)).await,
        "continuations" => {
            let more = [&[0, 1, b'x', 0x7f, 0x81, 0x1e][..], &[b'y'; 285]].concat();
            write(address, 100_000, |n| if n == 0 { frame(1, 0, 1, REQUEST) } else { frame(9, 0, 1, &more) }).await
        }
        "pings" => write(address, 100_000, |_| frame(6, 0, 0, &[7; 8])).await,
        "settings" => write(address, 100_000, |_| frame(4, 0, 0, &[])).await,
        other => panic!("{other}"),
    }
}

async fn honest(tokens: &mut TokenServiceClient<Channel>) {
    let request = v1::IntrospectTokenRequest { token: "x".into(), ..Default::default() };
    let call = tokio::time::timeout(Duration::from_secs(10), tokens.introspect_token(request)).await;
    assert!(!call.expect("in time").expect("served").into_inner().active);
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_neither_stop_others_nor_grow_the_server() {
    let server = ServerProcess::start(&[]);
    let channel = Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects");
    let mut tokens = TokenServiceClient::new(channel);
    honest(&mut tokens).await;
    let before = memory_kib(&server);
    for kind in ["resets", "streams", "continuations", "pings", "settings"] {
        let hostile = tokio::task::spawn(flood(kind, server.grpc()));
        let (mut calls, mut slowest) = (0, Duration::ZERO);
        while !hostile.is_finished() || calls < 10 {
            let begun = std::time::Instant::now();
            honest(&mut tokens).await;
            (calls, slowest) = (calls + 1, slowest.max(begun.elapsed()));
        }
        let (written, grown) = (hostile.await.expect("ends"), memory_kib(&server).saturating_sub(before));
        println!("{kind}: {written} written, {calls} honest calls, slowest {slowest:?}, grown {grown} KiB");
        assert!(grown < MOST_GROWTH_KIB, "{kind}: {grown} KiB");
    }
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(server.grpc()).await.expect("connects"));
    }
    honest(&mut tokens).await;
    let grown = memory_kib(&server).saturating_sub(before);
    println!("400 idle connections: grown {grown} KiB");
    assert!(grown < MOST_GROWTH_KIB);
    let mut probe = TcpStream::connect(server.http()).await.expect("connects");
    probe.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.expect("reads");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_larger_than_its_method_allows_is_refused() {
    let server = ServerProcess::start(&[]);
    let channel = Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects");
    let mut tokens = TokenServiceClient::new(channel);
    let large = "x".repeat((64 << 10) + 1);
    let issue = v1::IssueTokenRequest { subject: large.clone(), ..Default::default() };
    let refresh = v1::RefreshTokenRequest { refresh_token: large.clone(), ..Default::default() };
    let introspect = v1::IntrospectTokenRequest { token: large.clone(), ..Default::default() };
    let revoke = v1::RevokeTokenRequest { token: large.clone(), ..Default::default() };
    let client = v1::RevokeClientRequest { client_id: large.clone(), ..Default::default() };
    let batch = v1::BatchIntrospectTokensRequest { tokens: vec!["x".repeat(5_000); 1_000], ..Default::default() };
    for (method, status) in [
        ("IssueToken", tokens.issue_token(issue).await.expect_err("large")),
        ("RefreshToken", tokens.refresh_token(refresh).await.expect_err("large")),
        ("IntrospectToken", tokens.introspect_token(introspect).await.expect_err("large")),
        ("RevokeToken", tokens.revoke_token(revoke).await.expect_err("large")),
        ("RevokeClient", tokens.revoke_client(client).await.expect_err("large")),
        (
            "RevokeRealm",
            tokens
                .revoke_realm(v1::RevokeRealmRequest { realm: large.clone(), ..Default::default() })
                .await
                .expect_err("large"),
        ),
        ("GetJwks", tokens.get_jwks(v1::GetJwksRequest { realm: large }).await.expect_err("large")),
        ("BatchIntrospectTokens", tokens.batch_introspect_tokens(batch).await.expect_err("5 MB")),
    ] {
        assert_eq!(status.code(), tonic::Code::OutOfRange, "{method}: {status:?}");
        if method != "BatchIntrospectTokens" {
            let reason = status.get_details_error_info().map(|info| info.reason);
            assert_eq!(reason.as_deref(), Some("REQUEST_TOO_LARGE"), "{method}");
        }
    }
}
