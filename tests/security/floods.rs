//! Peers that ask for too much, beside an honest client of the real server: it is served all the
//! while, the server's memory stays bounded, and afterwards it is as idle as before.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;

use super::raw_client::RawClient;
use super::server_process::ServerProcess;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `:method: POST`, `:scheme: http`, `:path: /` from the static table (RFC 7541, appendix A).
const REQUEST: &[u8] = &[0x83, 0x86, 0x84];
/// Far more than a flood takes, and less than any takes for which there is no limit.
const MOST_GROWTH_KIB: u64 = 64 << 10;
/// What an answer to a batch takes, of which 32 are held at most.
const MOST_GROWTH_OF_BATCHES_KIB: u64 = 160 << 10;
/// Short, so that what it ends is seen to end.
const PEER_TIMEOUT: Duration = Duration::from_secs(6);
/// A loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);
const GET_JWKS: &[u8] = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n";

/// A server, what it was like when only the honest client was there, and that client.
struct Scene {
    server: ServerProcess,
    tokens: TokenServiceClient<Channel>,
    memory_kib: u64,
    most_growth_kib: u64,
    sockets: usize,
    _directory: TempDir,
}

impl Scene {
    async fn new(max_connections: usize) -> Self {
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join("server.toml");
        let timeout = PEER_TIMEOUT.as_secs();
        let text = format!("[server]\nmax_connections = {max_connections}\npeer_timeout = \"{timeout}s\"\n");
        fs::write(&file, text).expect("writes");
        let server = ServerProcess::start(&["--config", file.to_str().expect("UTF-8")]);
        let channel = Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects");
        let mut tokens = TokenServiceClient::new(channel);
        honest(&mut tokens).await;
        let (memory_kib, sockets) = (memory_kib(&server), sockets(&server));
        Self { server, tokens, memory_kib, most_growth_kib: MOST_GROWTH_KIB, sockets, _directory: directory }
    }

    /// Runs a flood beside the honest client, which is served by gRPC and HTTP until it ends, and at
    /// least ten times.
    async fn survives<T: Send + 'static>(&mut self, name: &str, flood: impl Future<Output = T> + Send + 'static) -> T {
        let hostile = tokio::task::spawn(flood);
        let (mut calls, mut slowest, mut grown) = (0, Duration::ZERO, 0);
        while !hostile.is_finished() || calls < 10 {
            let begun = Instant::now();
            honest(&mut self.tokens).await;
            (calls, slowest) = (calls + 1, slowest.max(begun.elapsed()));
            grown = grown.max(memory_kib(&self.server).saturating_sub(self.memory_kib));
        }
        println!("{name}: {calls} honest calls, slowest {slowest:?}, grown {grown} KiB");
        assert!(grown < self.most_growth_kib, "{name}: {grown} KiB");
        hostile.await.expect("ends")
    }

    /// Waits until no connection is open but the honest client's.
    async fn is_idle_again(&self, name: &str) {
        let begun = Instant::now();
        while sockets(&self.server) > self.sockets {
            assert!(begun.elapsed() < PATIENCE, "{name}: {} sockets are open", sockets(&self.server));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(sockets(&self.server), self.sockets, "{name}: the honest connection was closed");
    }

    /// Stops at once: nothing that the floods began is still under way.
    async fn ends(self) {
        let Self { mut server, tokens, .. } = self;
        drop(tokens);
        let begun = Instant::now();
        let stopped = tokio::task::spawn_blocking(move || (server.terminate(), server.stderr_lines()));
        let (status, lines) = stopped.await.expect("stops");
        assert!(status.success(), "{status:?}");
        assert!(begun.elapsed() < Duration::from_secs(4), "calls or connections were left: {:?}", begun.elapsed());
        assert!(!lines.iter().any(|line| line.contains("did not finish")), "{lines:?}");
    }
}

fn memory_kib(server: &ServerProcess) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn sockets(server: &ServerProcess) -> usize {
    let handles = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("Linux");
    let links = handles.filter_map(|handle| fs::read_link(handle.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

async fn honest(tokens: &mut TokenServiceClient<Channel>) {
    let request = v1::IntrospectTokenRequest { token: "x".into(), ..Default::default() };
    let call = tokio::time::timeout(Duration::from_secs(10), tokens.introspect_token(request)).await;
    assert!(!call.expect("in time").expect("served").into_inner().active);
}

async fn is_ready(http: SocketAddr) -> bool {
    let mut probe = TcpStream::connect(http).await.expect("connects");
    probe.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.expect("reads");
    answer.starts_with("HTTP/1.1 200")
}

/// Waits until the server has closed a connection of which nothing is read otherwise.
async fn closed(stream: &mut TcpStream) {
    let mut sink = [0; 4096];
    let end = async { while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, end).await.expect("closed in time");
}

/// Whether the server keeps a connection; takes what it has said.
fn is_open(stream: &TcpStream) -> bool {
    let mut sink = [0; 4096];
    loop {
        match stream.try_read(&mut sink) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
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

/// Whether the server ended the flood before it was over.
async fn frames(kind: &str, address: SocketAddr) -> bool {
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
    println!("{kind}: {written} of {most} written");
    written < most
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_neither_stop_others_nor_grow_the_server() {
    let mut scene = Scene::new(4_096).await;
    for kind in ["resets", "streams", "continuations", "metadata", "pings", "settings"] {
        let address = scene.server.grpc();
        let was_ended = scene.survives(kind, async move { frames(kind, address).await }).await;
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

/// A peer that calls, answers each ping, and takes no byte of an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_no_answer_is_left() {
    let mut scene = Scene::new(4_096).await;
    scene.most_growth_kib = MOST_GROWTH_OF_BATCHES_KIB;
    let login = v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() };
    let issued = scene.tokens.issue_token(login).await.expect("issues").into_inner().tokens.expect("tokens");
    let batch = v1::BatchIntrospectTokensRequest { tokens: vec![issued.access_token; 1_000], ..Default::default() };
    let message = prost::Message::encode_to_vec(&batch);
    let address = scene.server.grpc();
    let flood = async move {
        let mut client = RawClient::with_window(address, 0).await;
        let mut untaken = Vec::new();
        for number in 0..200 {
            let (path, message) =
                if number < 100 { ("BatchIntrospectTokens", message.as_slice()) } else { ("GetJwks", &[][..]) };
            untaken.push(client.begin(&format!("/token_authority.v1.TokenService/{path}"), &[], message).await);
        }
        let begun = Instant::now();
        tokio::time::timeout(PATIENCE, client.closed()).await.expect("closed in time");
        begun.elapsed()
    };
    let closed_after = scene.survives("answers", flood).await;
    println!("closed after {closed_after:?}");
    scene.is_idle_again("answers").await;
    // Each place that it held is free again.
    let answers = (0..32).map(|_| {
        let (mut tokens, batch) = (scene.tokens.clone(), batch.clone());
        async move { tokens.batch_introspect_tokens(batch).await.map(|answer| answer.into_inner().results.len()) }
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
    let flood = async move {
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
    let flood = async move {
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
    let flood = async move {
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

/// Those who are in are served; who comes too late is told so at once; a free place is taken again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let mut scene = Scene::new(16).await;
    for (name, address, free) in [("gRPC", scene.server.grpc(), 15), ("HTTP", scene.server.http(), 16)] {
        let flood = async move {
            let mut held = Vec::new();
            for _ in 0..free {
                held.push(TcpStream::connect(address).await.expect("connects"));
            }
            // Accepted in this order, so whoever comes next finds them in.
            for _ in 0..100 {
                let begun = Instant::now();
                closed(&mut TcpStream::connect(address).await.expect("connects")).await;
                assert!(begun.elapsed() < PEER_TIMEOUT, "closed only as a silent one");
            }
            assert!(held.iter().all(is_open));
        };
        scene.survives(name, flood).await;
        scene.is_idle_again(name).await;
    }
    assert!(is_ready(scene.server.http()).await);
    let line = scene.server.wait_for_line("max_connections", PATIENCE);
    assert!(line.contains("WARN"), "{line}");
    scene.ends().await;
}

/// Who is connected is served while no connection can be accepted, and others are once one can.
#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_file_handles_is_survived() {
    let mut scene = Scene::new(4_096).await;
    let handles = fs::read_dir(format!("/proc/{}/fd", scene.server.pid())).expect("Linux").count();
    let limit = |handles: usize| {
        let arguments = [format!("--pid={}", scene.server.pid()), format!("--nofile={handles}:")];
        assert!(Command::new("prlimit").args(arguments).status().expect("util-linux").success());
    };
    limit(handles + 10);
    let address = scene.server.http();
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(TcpStream::connect(address).await.expect("queued"));
    }
    scene.server.wait_for_line("can't accept", PATIENCE);
    let failures =
        |scene: &Scene| scene.server.stderr_lines().iter().filter(|line| line.contains("can't accept")).count();
    let (before, begun) = (failures(&scene), Instant::now());
    scene.survives("file handles", tokio::time::sleep(Duration::from_secs(2))).await;
    let (after, took) = (failures(&scene), begun.elapsed());
    assert!((after - before) as u128 <= took.as_millis() / 500 + 1, "{before} to {after} in {took:?}");
    drop(waiting);
    assert!(is_ready(address).await);
    scene.is_idle_again("file handles").await;
    scene.ends().await;
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
