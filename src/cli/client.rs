//! A client command's way to the server: which one, and how long it waits. Knows no call.

use std::time::Duration;

use clap::Args;
use http::Uri;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use super::failure::{Failure, chain};

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What each client command takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Client options")]
pub(super) struct ClientFlags {
    /// Server to call: http://HOST:PORT [default: http://127.0.0.1:50051]
    #[arg(long, global = true, value_name = "URL", value_parser = parse_endpoint)]
    endpoint: Option<Uri>,
    /// Realm to act in [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) realm: Option<String>,
    /// Print the whole answer as JSON (the proto's JSON mapping)
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl ClientFlags {
    /// Whether anything is said that only a call to a server needs.
    pub(super) fn names_a_server(&self) -> bool {
        self.endpoint.is_some() || self.realm.is_some()
    }

    /// The server's address.
    pub(super) fn endpoint(&self) -> Uri {
        self.endpoint.clone().unwrap_or_else(|| Uri::from_static(DEFAULT_ENDPOINT))
    }

    /// The realm for a request; empty means `default`.
    pub(super) fn realm(&self) -> String {
        self.realm.clone().unwrap_or_default()
    }

    /// Connects to the server.
    pub(super) async fn connect(&self) -> Result<Channel, Failure> {
        let endpoint = Endpoint::from(self.endpoint()).connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
        endpoint.connect().await.map_err(|error| {
            Failure::unreachable(format_args!("{} can't be reached: {}", self.endpoint(), chain(&error)))
        })
    }

    /// Why a call failed.
    pub(super) fn failure(&self, status: &tonic::Status) -> Failure {
        Failure::of_call(status, self.endpoint())
    }
}

/// A request that tells the server when nobody waits any more.
pub(super) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(REQUEST_TIMEOUT);
    request
}

fn parse_endpoint(text: &str) -> Result<Uri, String> {
    let wrong = || format!("must be a URL such as {DEFAULT_ENDPOINT}");
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    match uri.scheme_str() {
        Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        Some("https") => Err("this version speaks no TLS: use http:// to a server on this machine".to_owned()),
        _ => Err(wrong()),
    }
}
