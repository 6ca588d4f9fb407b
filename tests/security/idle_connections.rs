//! Peers that connect, say what their protocol begins with, and then do nothing for as long as they may.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::floods::PREFACE;
use super::scene::{PATIENCE, Scene, is_ready, soak};

const WANTED: usize = 10_000;
/// What this process has open beside the connections, as the tests run side by side.
const OTHER_HANDLES: usize = 2_500;
/// A connection of HTTP/2 costs most: its buffers, and its settings.
const MOST_KIB_EACH: u64 = 32;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_cost_little_and_keep_nobody_waiting() {
    let most = usable_handles().saturating_sub(OTHER_HANDLES).min(WANTED);
    println!("{most} idle connections of {WANTED}");
    let mut scene = Scene::with_patience(WANTED + OTHER_HANDLES, PATIENCE).await;
    scene.most_growth_kib = MOST_KIB_EACH * most as u64;
    let listeners = [(scene.server.grpc(), PREFACE), (scene.server.http(), b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")];
    let flood = move || async move {
        let mut idle = Vec::new();
        for number in 0..most {
            let (address, begins) = listeners[number % 2];
            let mut stream = TcpStream::connect(address).await.expect("connects");
            stream.write_all(begins).await.expect("writes");
            // It is served, and not only in the kernel's queue.
            assert!(stream.read(&mut [0; 1_024]).await.expect("reads") > 0);
            idle.push(stream);
        }
        tokio::time::sleep(soak()).await;
        // None of them was let go of to make room.
        assert!(idle.iter().all(|stream| stream.try_read(&mut [0; 1_024]).map_or(true, |read| read > 0)));
        idle
    };
    let idle = scene.survives("idle", flood).await;
    assert!(is_ready(scene.server.http()).await);
    drop(idle);
    scene.is_idle_again("idle").await;
    scene.ends().await;
}

/// As many file handles as the system lets this process have; the server that it starts has as many.
fn usable_handles() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
    maximum.map_or(usize::MAX, |most| usize::try_from(most).expect("64 bits"))
}
