//! A gRPC service that lets in only bearers of a valid token. The greeter stands for a generated server.
//!
//! ```text
//! make run                                            # in another terminal
//! cargo run --example protected_tonic
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use token_authority::client::{ChannelOptions, Identity, Protect, Verifier, require_scope};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:7002").await?;
    serve(listener, "http://127.0.0.1:50051", "http://127.0.0.1:8080").await
}

pub(crate) async fn serve(listener: TcpListener, authority: &str, issuer: &str) -> Result<(), Box<dyn Error>> {
    let channel = ChannelOptions::default().balance(&[authority])?;
    let verifier = Verifier::builder(channel, issuer, "shop").build()?;
    let layers = ServiceBuilder::new().layer(Protect::new(verifier)).layer(require_scope("read")?);
    let server = Server::builder().add_service(layers.service(Greeter));
    Ok(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))).await?)
}

impl UnaryService<()> for Greeter {
    type Response = String;
    type Future = Ready<Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let who = request.extensions().get::<Identity>().ok_or(Status::unauthenticated("nobody"));
        ready(who.map(|who| Response::new(format!("hello {}", who.subject().as_str()))))
    }
}

#[derive(Clone)]
struct Greeter;

impl NamedService for Greeter {
    const NAME: &'static str = "example.Greeter";
}

impl Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(Grpc::new(ProstCodec::<String, ()>::default()).unary(Self, request).await) })
    }
}
