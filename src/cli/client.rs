//! A client command's way to the server: which one, how both prove who they are, and how long it
//! waits. Knows no call.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::Uri;
use tonic::Request;
use tonic::transport::{self, Certificate, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

use crate::client::{AuthorityChannel, Proof};

use super::failure::{Exit, Failure, chain};

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";
const DEFAULT_TLS_ENDPOINT: &str = "https://127.0.0.1:50051";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_SECRET_BYTES: u64 = 4_096;

/// What each client command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Client options")]
pub(super) struct ClientFlags {
    /// Server to call: http(s)://HOST:PORT [default: http://127.0.0.1:50051, https:// with --ca or --cert]
    #[arg(long, global = true, value_name = "URL", value_parser = parse_endpoint)]
    endpoint: Option<Uri>,
    /// Authorities that vouch for the server, PEM [default: the system's]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate to show to the server, PEM; goes with --key
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Private key of --cert, PEM
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Client of the realm to call as [default: $TOKEN_AUTHORITY_CLIENT_ID]
    #[arg(long, global = true, value_name = "ID")]
    client_id: Option<String>,
    /// File with that client's secret; - for standard input [default: $TOKEN_AUTHORITY_CLIENT_SECRET_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// What the two before come to, once they were read.
    #[arg(skip)]
    proof: Proof,
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
        let names_a_client = self.client_id.is_some() || self.client_secret_file.is_some();
        self.endpoint.is_some() || self.realm.is_some() || self.names_files() || names_a_client
    }

    /// Takes what no flag says from the environment, and reads the secret.
    pub(super) fn completed(
        mut self,
        variable: impl Fn(&str) -> Option<OsString>,
        input: &mut dyn Read,
    ) -> Result<Self, Failure> {
        let id = || variable("TOKEN_AUTHORITY_CLIENT_ID").and_then(|id| id.into_string().ok());
        let file = || variable("TOKEN_AUTHORITY_CLIENT_SECRET_FILE").map(PathBuf::from);
        self.proof = match (self.client_id.clone().or_else(id), self.client_secret_file.clone().or_else(file)) {
            (None, None) => Proof::default(),
            (Some(id), Some(file)) => {
                let secret = Zeroizing::new(if file == Path::new("-") {
                    let mut bytes = Vec::new();
                    input.take(MOST_SECRET_BYTES).read_to_end(&mut bytes)?;
                    bytes
                } else {
                    read(&file)?
                });
                let secret = std::str::from_utf8(&secret).map_err(|_| Failure::refused("the secret is no text"))?;
                Proof::secret(&id, secret.trim()).map_err(Failure::refused)?
            }
            _ => {
                let message = "--client-id and --client-secret-file go together".to_owned();
                return Err(Failure::Said(Exit::Usage, message));
            }
        };
        Ok(self)
    }

    /// The server's address.
    pub(super) fn endpoint(&self) -> Uri {
        let usual = if self.names_files() { DEFAULT_TLS_ENDPOINT } else { DEFAULT_ENDPOINT };
        self.endpoint.clone().unwrap_or_else(|| Uri::from_static(usual))
    }

    /// The realm for a request; empty means `default`.
    pub(super) fn realm(&self) -> String {
        self.realm.clone().unwrap_or_default()
    }

    /// Connects to the server, as whoever the flags name.
    pub(super) async fn connect(&self) -> Result<AuthorityChannel, Failure> {
        let unreachable = |error: transport::Error| {
            Failure::unreachable(format_args!("{} can't be reached: {}", self.endpoint(), chain(&error)))
        };
        let mut endpoint = Endpoint::from(self.endpoint()).connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
        if let Some(tls) = self.tls()? {
            endpoint = endpoint.tls_config(tls).map_err(|error| Failure::refused(chain(&error)))?;
        }
        Ok(AuthorityChannel::new(endpoint.connect().await.map_err(unreachable)?, self.proof.clone()))
    }

    /// Why a call failed.
    pub(super) fn failure(&self, status: &tonic::Status) -> Failure {
        Failure::of_call(status, self.endpoint())
    }

    /// Whom to trust and what to show; `None`: plaintext.
    fn tls(&self) -> Result<Option<ClientTlsConfig>, Failure> {
        if self.endpoint().scheme_str() != Some("https") {
            let wrong = || Failure::Said(Exit::Usage, "--ca, --cert and --key are for https:// endpoints".to_owned());
            return if self.names_files() { Err(wrong()) } else { Ok(None) };
        }
        let mut tls = ClientTlsConfig::new();
        tls = match &self.ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(read(ca)?)),
            None => tls.with_native_roots(),
        };
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Ok(Some(tls.identity(Identity::from_pem(read(cert)?, read(key)?)))),
            (None, None) => Ok(Some(tls)),
            _ => Err(Failure::Said(Exit::Usage, "--cert and --key go together".to_owned())),
        }
    }

    fn names_files(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| Failure::refused(format_args!("{}: can't be read: {error}", file.display())))
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
        // What is called is named in errors, and who calls has flags of his own.
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) && !text.contains('@') => Ok(uri),
        _ => Err(wrong()),
    }
}
