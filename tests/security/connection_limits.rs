//! More connections than there are places or file handles for, beside an honest client.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::scene::{PATIENCE, PEER_TIMEOUT, Scene, closed, is_ready, soak};

/// Those who are in are served; who comes too late is told so at once; a free place is taken again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let mut scene = Scene::with_patience(16, PATIENCE).await;
    for (name, address, free) in [("gRPC", scene.server.grpc(), 14), ("HTTP", scene.server.http(), 16)] {
        let flood = move || async move {
            let mut held = Vec::new();
            for _ in 0..free {
                held.push(TcpStream::connect(address).await.expect("connects"));
            }
            let full = Instant::now();
            // Accepted in this order, so whoever comes next finds them in.
            while full.elapsed() < soak() {
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
    // A few dozen are in use.
    let arguments = [format!("--pid={}", scene.server.pid()), "--nofile=64:".to_owned()];
    assert!(Command::new("prlimit").args(arguments).status().expect("util-linux").success());
    let address = scene.server.http();
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(TcpStream::connect(address).await.expect("queued"));
    }
    scene.server.wait_for_line("can't accept", PATIENCE);
    let failures =
        |scene: &Scene| scene.server.stderr_lines().iter().filter(|line| line.contains("can't accept")).count();
    let (before, begun) = (failures(&scene), Instant::now());
    scene.survives("file handles", || tokio::time::sleep(Duration::from_secs(2))).await;
    let (after, took) = (failures(&scene), begun.elapsed());
    assert!((after - before) as u128 <= took.as_millis() / 500 + 1, "{before} to {after} in {took:?}");
    drop(waiting);
    assert!(is_ready(address).await);
    scene.is_idle_again("file handles").await;
    scene.ends().await;
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
