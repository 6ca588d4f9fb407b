//! Services as a team writes them, behind the middleware of the SDK: one of axum over HTTP, one of tonic
//! over gRPC.

use std::net::SocketAddr;

use axum::routing::get;
use axum::{Extension, Router};
use http::header::AUTHORIZATION;
use token_authority::client::{Identity, Protect, Rejection, Verifier};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceBuilder;

use crate::boot::issuer;
use crate::test_server::TestServer;
use crate::wire;

pub(crate) const COOKIE: &str = "__Host-access_token";

/// Both of them, and the verifier that they share; they end with this.
pub(crate) struct Protected {
    verifier: Verifier,
    pub(crate) http: SocketAddr,
    /// Serves gRPC health, which says `SERVING` to whoever passes.
    pub(crate) grpc: Channel,
    _serving: JoinSet<()>,
}

impl Protected {
    /// Services for this audience that follow the server's keys and revocations.
    pub(crate) async fn start(server: &TestServer, audience: &str) -> Self {
        let jwks = format!("{}/.well-known/jwks.json", issuer(server)).parse().expect("a URL");
        let verifier = Verifier::builder(to_authority(server), &issuer(server), audience)
            .realm(&server.realm())
            .jwks_url(jwks)
            .clock(server.clock())
            .build()
            .expect("names");
        verifier.ready().await;
        let mut serving = JoinSet::new();

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let http = listener.local_addr().expect("an address");
        let app = Router::new().route("/", get(who)).layer(Protect::new(verifier.clone()).or_cookie(COOKIE));
        serving.spawn(async move { axum::serve(listener, app).await.expect("serves") });

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (_, health) = tonic_health::server::health_reporter();
        let health = ServiceBuilder::new().layer(Protect::new(verifier.clone())).service(health);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serve = Server::builder().add_service(health).serve_with_incoming(incoming);
        serving.spawn(async move { serve.await.expect("serves") });
        let grpc = Channel::from_shared(address).expect("an address").connect_lazy();
        Self { verifier, http, grpc, _serving: serving }
    }

    /// Status and challenge of the answer to a request with these headers.
    pub(crate) async fn ask_http(&self, headers: &[(&str, &str)]) -> (u16, String) {
        let answer = wire::send(self.http, "GET", "/", headers, "").await;
        (answer.status, answer.header("www-authenticate").unwrap_or_default().to_owned())
    }

    /// The same with a bearer token, over gRPC.
    pub(crate) async fn ask_grpc(&self, token: Option<&str>) -> Code {
        let mut request = Request::new(HealthCheckRequest::default());
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().expect("a value");
            request.metadata_mut().insert(AUTHORIZATION.as_str(), bearer);
        }
        HealthClient::new(self.grpc.clone()).check(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    /// Why the verifier refuses a token.
    pub(crate) async fn rejection(&self, token: &str) -> Option<Rejection> {
        self.verifier.verify(token).await.err()
    }
}

/// A connection to the authority, as a client of the SDK has it.
pub(crate) fn to_authority(server: &TestServer) -> Channel {
    Channel::from_shared(format!("http://{}", server.grpc())).expect("an address").connect_lazy()
}

async fn who(Extension(identity): Extension<Identity>) -> String {
    identity.subject().as_str().to_owned()
}
