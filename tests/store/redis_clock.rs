//! A Redis whose clock goes wrong while it is used: the server is not ready until it is mended, and until
//! then no two servers judge by times further apart than is tolerated.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use token_authority::authority::ports::{Clock as _, Store as _};
use token_authority::store::redis::{RedisStore, Safety, Topology};
use token_authority::system::SystemClock;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::fixtures::SeededEntropy;
use super::redis_server::RedisServer;
use crate::server_process::ServerProcess;

/// Between clients and a Redis, whose TIME it shifts.
struct TimeProxy {
    port: u16,
    shift: Arc<AtomicI64>,
}

impl TimeProxy {
    async fn before(redis: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (port, target) = (listener.local_addr().expect("its address").port(), redis.port());
        let shift = Arc::<AtomicI64>::default();
        let shifting = shift.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, target, shifting.clone()));
            }
        });
        Self { port, shift }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}?prefix=ta", self.port)
    }

    fn shift(&self, seconds: i64) {
        self.shift.store(seconds, Ordering::SeqCst);
    }
}

async fn relay(client: TcpStream, target: u16, shift: Arc<AtomicI64>) {
    let server = TcpStream::connect(("127.0.0.1", target)).await.expect("Redis is there");
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    // Answers end with a line's end, so whole lines hold nothing back. Of all that the store asks, only
    // TIME is answered with a list of two, the first of ten digits.
    let (mut lines, mut line, mut before) = (BufReader::new(from_server), Vec::new(), [Vec::new(), Vec::new()]);
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        if before == [b"*2\r\n".to_vec(), b"$10\r\n".to_vec()] {
            let seconds: i64 = String::from_utf8_lossy(&line).trim().parse().expect("seconds");
            line = format!("{}\r\n", seconds + shift.load(Ordering::SeqCst)).into_bytes();
        }
        if to_client.write_all(&line).await.is_err() {
            return;
        }
        let [_, last] = before;
        before = [last, std::mem::take(&mut line)];
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_wrong_makes_the_store_unready_until_it_is_mended() {
    let redis = RedisServer::start().await;
    let proxy = TimeProxy::before(&redis).await;
    let (clock, entropy) = (Arc::new(SystemClock::default()), SeededEntropy::named("clock"));
    let store = RedisStore::open(Topology::Standalone, &proxy.url(), Safety::Required, clock.clone(), entropy).await;
    let store = store.expect("an open store");
    for (shift, ready) in [(0, true), (4, false), (0, true), (-4, false), (-1, true), (1, true)] {
        proxy.shift(shift);
        let found = store.ready().await;
        assert_eq!(found.is_ok(), ready, "{shift}: {found:?}");
        if let Err(error) = found {
            let text = error.to_string();
            assert!(text.contains("clock differs") && text.contains("NTP"), "{text}");
        }
    }
    // The shift that is left, less what a call took and what TIME leaves out.
    let ahead = store.clock().now().since(clock.now());
    assert!(ahead > Duration::from_millis(500) && ahead <= Duration::from_secs(2), "{ahead:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_says_so_and_goes_on_by_itself() {
    let (redis, directory) = (RedisServer::start().await, TempDir::new().expect("a directory"));
    let proxy = TimeProxy::before(&redis).await;
    let key = directory.path().join("kek").display().to_string();
    let arguments = ["--store", &proxy.url(), "--key-file", &key, "--dev"];
    let within = Duration::from_secs(20);
    tokio::task::block_in_place(|| {
        let server = ServerProcess::start_in(directory.path(), &arguments);
        proxy.shift(5);
        let said = server.wait_for_line("not ready", within);
        assert!(said.contains("WARN") && said.contains("clock differs from this machine's by"), "{said}");
        server.wait_for_line("readiness changed ready=false", within);
        proxy.shift(0);
        let lines = server.stderr_lines().len();
        let mended =
            || server.stderr_lines()[lines - 1..].iter().any(|line| line.contains("readiness changed ready=true"));
        let waited = std::time::Instant::now();
        while !mended() {
            assert!(waited.elapsed() < within, "{:?}", server.stderr_lines());
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    proxy.shift(30);
    let (status, said) = tokio::task::block_in_place(|| ServerProcess::fails_to_start(directory.path(), &arguments));
    assert!(status.code() == Some(1) && said.contains("clock differs"), "{said}");
}
