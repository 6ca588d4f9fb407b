//! HTTP/1.1 over connections that are ready: its limits, and its end. Knows no route.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::stream::{Stream, StreamExt as _};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use tracing::debug;

/// Of a request's first line and headers: a token of 8 KiB, and what else a proxy adds.
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// What is read ahead on one connection.
const BUFFER_BYTES: usize = 32 << 10;

/// Serves each connection until its peer ends it or is too slow, and all of them until `stop`; then
/// lets the requests under way finish. Dropped, it ends them.
pub async fn serve<C>(
    connections: impl Stream<Item = C>,
    router: Router,
    head_timeout: Duration,
    stop: impl Future<Output = ()>,
) where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let http = builder(head_timeout);
    let graceful = GracefulShutdown::new();
    let mut served = JoinSet::new();
    {
        let (mut connections, mut stop) = (pin!(connections), pin!(stop));
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(connection) = connections.next() => {
                    let service = router.clone().map_request(|request: Request<Incoming>| request.map(Body::new));
                    let serving = http.serve_connection(TokioIo::new(connection), TowerToHyperService::new(service));
                    served.spawn(graceful.watch(serving));
                }
                Some(ended) = served.join_next() => {
                    if let Ok(Err(error)) = ended {
                        debug!(%error, "a connection ended early");
                    }
                }
            }
        }
    }
    graceful.shutdown().await;
}

fn builder(head_timeout: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    // From the end of the last request on, so it ends idle connections too.
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    http.max_header_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS).max_buf_size(BUFFER_BYTES);
    http
}
