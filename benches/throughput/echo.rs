//! The limit of the transport: tonic, and axum, without an authority behind them. Take a message, give one
//! of the size that they are asked for, and check nothing.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::Ipv4Addr;
use std::task::{Context, Poll};

use axum::extract::Path;
use axum::routing::get;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Where it answers.
pub(crate) const METHOD: &str = "/bench.Echo/Echo";

/// What goes both ways.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) payload: Bytes,
    /// How long the answer's payload is to be.
    #[prost(uint32, tag = "2")]
    pub(crate) answer: u32,
}

/// Serves until the process is ended; writes the line that a server of ours writes.
#[allow(clippy::print_stderr, reason = "the parent process reads the port from it")]
pub(crate) async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let http_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    eprintln!("listening grpc={} http={}", listener.local_addr()?, http_listener.local_addr()?);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut server = tonic::transport::Server::builder().max_concurrent_streams(256);
    let grpc = server.add_service(Echo).serve_with_incoming(incoming);
    let http = axum::serve(http_listener, axum::Router::new().route("/{bytes}", get(text).post(text)));
    let (grpc, http) = tokio::join!(grpc, http);
    grpc?;
    Ok(http?)
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
