//! Reads a key set over HTTP, and with the feature `client-tls` over HTTPS. For any other way, such as one
//! through a proxy, give the verifier a [`FetchKeys`] made of the HTTP client that the service has anyway.

use std::time::Duration;

use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;
use tonic::codegen::{BoxFuture, Bytes};

#[cfg(feature = "client-tls")]
use super::https::NoAuthority;
use super::keys::{FetchKeys, NotFetched};

#[cfg(not(feature = "client-tls"))]
type Connector = hyper_util::client::legacy::connect::HttpConnector;
#[cfg(feature = "client-tls")]
type Connector = super::https::Connector;

/// Far more than a realm publishes; whoever answers more is not the authority.
const MOST_BYTES: usize = 256 * 1024;
const DEADLINE: Duration = Duration::from_secs(5);

/// The key set at a URL.
#[derive(Debug, Clone)]
pub struct HttpJwks {
    client: Client<Connector, Empty<Bytes>>,
    url: Uri,
}

impl HttpJwks {
    /// At `http://HOST:PORT/PATH`, such as the authority's `/.well-known/jwks.json`; with the feature
    /// `client-tls` also at `https://`, from a server that an authority of this machine's list vouches for.
    pub fn new(url: Uri) -> Self {
        #[cfg(not(feature = "client-tls"))]
        let connector = Connector::new();
        #[cfg(feature = "client-tls")]
        let connector = super::https::connector(&url);
        Self::through(connector, url)
    }

    /// At `https://`, from a server that one of these certificates (PEM) vouches for, and from no other.
    #[cfg(feature = "client-tls")]
    pub fn trusting(url: Uri, authorities: &[u8]) -> Result<Self, NoAuthority> {
        Ok(Self::through(super::https::trusting(authorities)?, url))
    }

    fn through(connector: Connector, url: Uri) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build(connector), url }
    }

    async fn read(self) -> Result<Vec<u8>, NotFetched> {
        let answer = self.client.get(self.url).await.map_err(|error| not_connected(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(NotFetched(format!("answered {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        Ok(body.map_err(|error| NotFetched(error.to_string()))?.to_bytes().into())
    }
}

/// The error itself only says "client error"; what it was comes from below.
fn not_connected(error: &hyper_util::client::legacy::Error) -> NotFetched {
    NotFetched(std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string))
}

impl FetchKeys for HttpJwks {
    fn fetch(&self) -> BoxFuture<Vec<u8>, NotFetched> {
        let read = self.clone().read();
        Box::pin(async move { timeout(DEADLINE, read).await.map_err(|_| NotFetched("no answer in time".to_owned()))? })
    }
}
