//! The gRPC service of the examples, beside a real authority, and a way to call it.

use std::time::Duration;

use token_authority::proto::v1;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::{Bytes, StdError, http};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::server_process::ServerProcess;

#[path = "../../../examples/protected_tonic.rs"]
#[allow(dead_code, reason = "its `main` is not called here")]
mod protected_tonic;

/// The example, and the authority that it asks.
pub(crate) struct Greeter {
    pub(crate) authority: ServerProcess,
    pub(crate) tokens: TokenServiceClient<Channel>,
    pub(crate) sessions: SessionServiceClient<Channel>,
    pub(crate) channel: Channel,
}

impl Greeter {
    pub(crate) async fn start() -> Self {
        let authority = ServerProcess::start(&[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (endpoint, issuer) = (authority.endpoint(), format!("http://{}", authority.http()));
        tokio::spawn(async move {
            protected_tonic::serve(listener, &endpoint, &issuer).await.map_err(|error| error.to_string())
        });
        let to_authority = Channel::from_shared(authority.endpoint()).expect("an address").connect_lazy();
        Self {
            authority,
            tokens: TokenServiceClient::new(to_authority.clone()),
            sessions: SessionServiceClient::new(to_authority),
            channel: Channel::from_shared(address).expect("an address").connect_lazy(),
        }
    }

    pub(crate) async fn login(&self, audience: &str, scope: &str) -> v1::TokenPair {
        login(&self.tokens, audience, scope).await
    }
}

/// Logs ann in with a role that the examples do not ask for.
pub(crate) async fn login(tokens: &TokenServiceClient<Channel>, audience: &str, scope: &str) -> v1::TokenPair {
    let request = v1::IssueTokenRequest {
        subject: "ann".into(),
        audience: vec![audience.to_owned()],
        scope: vec![scope.to_owned()],
        ..Default::default()
    };
    tokens.clone().issue_token(request).await.expect("issues").into_inner().tokens.expect("tokens")
}

/// Asks the greeter to say hello.
pub(crate) async fn greet<S>(channel: S, headers: &[(&'static str, String)]) -> Result<String, Status>
where
    S: GrpcService<Body>,
    S::Error: Into<StdError>,
    S::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    let mut request = Request::new(());
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().expect("a value"));
    }
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unknown(error.into().to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/example.Greeter/Hello");
    Ok(client.unary(request, path, ProstCodec::<(), String>::default()).await?.into_inner())
}

/// The first refusal: what was revoked, and that the authority is gone, gets to the greeter within a moment.
pub(crate) async fn refusal_of<S>(channel: S, headers: &[(&'static str, String)]) -> Status
where
    S: GrpcService<Body> + Clone,
    S::Error: Into<StdError>,
    S::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    let refused = async {
        loop {
            if let Err(status) = greet(channel.clone(), headers).await {
                return status;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("refused")
}
