//! Reads a key set over HTTP. Plain HTTP only: for `https`, give the verifier a [`FetchKeys`] made of
//! the HTTP client that the service has anyway.

use std::time::Duration;

use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;
use tonic::codegen::{BoxFuture, Bytes};

use super::keys::{FetchKeys, NotFetched};

/// Far more than a realm publishes; whoever answers more is not the authority.
const MOST_BYTES: usize = 256 * 1024;
const DEADLINE: Duration = Duration::from_secs(5);

/// The key set at a URL.
#[derive(Debug, Clone)]
pub struct HttpJwks {
    client: Client<HttpConnector, Empty<Bytes>>,
    url: Uri,
}

impl HttpJwks {
    /// At `http://HOST:PORT/PATH`, such as the authority's `/.well-known/jwks.json`.
    pub fn new(url: Uri) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), url }
    }

    async fn read(self) -> Result<Vec<u8>, NotFetched> {
        let answer = self.client.get(self.url).await.map_err(|error| NotFetched(error.to_string()))?;
        if answer.status() != StatusCode::OK {
            return Err(NotFetched(format!("answered {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        Ok(body.map_err(|error| NotFetched(error.to_string()))?.to_bytes().into())
    }
}

impl FetchKeys for HttpJwks {
    fn fetch(&self) -> BoxFuture<Vec<u8>, NotFetched> {
        let read = self.clone().read();
        Box::pin(async move { timeout(DEADLINE, read).await.map_err(|_| NotFetched("no answer in time".to_owned()))? })
    }
}
