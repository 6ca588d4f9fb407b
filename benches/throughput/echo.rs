//! The limit of the transport: tonic, and axum, without an authority behind them. Take a message, give one
//! of the size that they are asked for, and check nothing.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::{io, thread};

use axum::extract::Path;
use axum::routing::get;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Where it answers.
pub(crate) const METHOD: &str = "/bench.Echo/Echo";

const BACKLOG: u32 = 1024;

/// What goes both ways.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) payload: Bytes,
    /// How long the answer's payload is to be.
    #[prost(uint32, tag = "2")]
    pub(crate) answer: u32,
}

/// Serves until the process is ended; writes the line that a server of ours writes. On each of the cores that it was
/// started on, a thread with sockets and a runtime of its own: the fastest way that tonic can be served in.
#[allow(clippy::print_stderr, reason = "the parent process reads the port from it")]
pub(crate) fn serve() -> io::Result<()> {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let first = Lane::listen([any, any])?;
    let addresses = [first.grpc.local_addr()?, first.http.local_addr()?];
    let others = (1..thread::available_parallelism()?.get()).map(|_| Lane::listen(addresses));
    let lanes: Vec<_> = [Ok(first)].into_iter().chain(others).collect::<io::Result<_>>()?;
    let [grpc, http] = addresses;
    eprintln!("listening grpc={grpc} http={http}");
    thread::scope(|scope| {
        let threads: Vec<_> = lanes.into_iter().map(|lane| scope.spawn(|| lane.serve())).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })
}

/// What serves on one core.
struct Lane {
    runtime: Runtime,
    grpc: TcpListener,
    http: TcpListener,
}

impl Lane {
    fn listen(addresses: [SocketAddr; 2]) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let [grpc, http] = addresses.map(|address| {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseport(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        });
        drop(entered);
        Ok(Self { runtime, grpc: grpc?, http: http? })
    }

    fn serve(self) -> io::Result<()> {
        self.runtime.block_on(async {
            let incoming = TcpIncoming::from(self.grpc).with_nodelay(Some(true));
            let mut server = tonic::transport::Server::builder().max_concurrent_streams(256);
            let grpc = server.add_service(Echo).serve_with_incoming(incoming);
            let router = axum::Router::new().route("/{bytes}", get(text).post(text));
            let http = axum::serve(self.http, router);
            let (grpc, http) = tokio::join!(grpc, async { http.await });
            grpc.map_err(io::Error::other)?;
            http
        })
    }
}

async fn text(Path(bytes): Path<usize>, _: Bytes) -> Bytes {
    vec![b'x'; bytes].into()
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(Grpc::new(ProstCodec::<Blob, Blob>::default()).unary(Self, request).await) })
    }
}

impl UnaryService<Blob> for Echo {
    type Response = Blob;
    type Future = Ready<Result<Response<Blob>, Status>>;

    fn call(&mut self, request: Request<Blob>) -> Self::Future {
        let asked = request.into_inner();
        let payload = vec![b'x'; asked.answer as usize].into();
        ready(Ok(Response::new(Blob { payload, answer: 0 })))
    }
}
