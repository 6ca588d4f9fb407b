//! Whether the listeners speak TLS, by which files, and what they ask of clients. Reads no file.

use std::path::PathBuf;

use super::document::Raw;
use super::layers::{Layers, Setting};
use super::problem::{Origin, Problem};
use super::value;

/// By which files the listeners speak TLS; each of them chooses how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The server's certificate and those between it and its authority: PEM.
    pub certificate: PathBuf,
    /// The certificate's private key: PEM.
    pub key: PathBuf,
    /// The authorities that vouch for clients: PEM.
    pub client_ca: Option<PathBuf>,
    /// What gRPC asks of its clients.
    pub grpc: TlsMode,
    /// What HTTP asks of its clients.
    pub http: TlsMode,
}

/// What a listener asks of its clients. What needs `client_ca` is refused without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plaintext.
    #[default]
    Off,
    /// TLS, and no certificate.
    Server,
    /// A certificate that `client_ca` vouches for, or none.
    Optional,
    /// A certificate that `client_ca` vouches for.
    Mutual,
}

/// What flags say.
#[derive(Debug, Clone, Default)]
pub struct TlsFlags {
    /// `--tls-certificate`
    pub certificate: Option<PathBuf>,
    /// `--tls-key`
    pub key: Option<PathBuf>,
    /// `--tls-client-ca`
    pub client_ca: Option<PathBuf>,
}

/// What was said, before it is known whether it fits together.
pub(super) struct Said {
    certificate: Setting<PathBuf>,
    key: Setting<PathBuf>,
    client_ca: Setting<PathBuf>,
    grpc: Setting<TlsMode>,
    http: Setting<TlsMode>,
}

impl Said {
    pub(super) fn read(layers: &mut Layers<'_>, flags: TlsFlags) -> Self {
        let mut path = |key, flag, name| layers.read("tls", key, value::path).or_flag(flag, name);
        let certificate = path("certificate", flags.certificate, "--tls-certificate");
        let key = path("key", flags.key, "--tls-key");
        let client_ca = path("client_ca", flags.client_ca, "--tls-client-ca");
        Self {
            certificate,
            key,
            client_ca,
            grpc: layers.read("tls", "grpc", mode),
            http: layers.read("tls", "http", mode),
        }
    }

    /// What each listener does, gRPC and then HTTP: mutual where nothing else is said and it can be.
    pub(super) fn modes(&self) -> (TlsMode, TlsMode) {
        let usual = match (&self.certificate.value, &self.client_ca.value) {
            (None, _) => TlsMode::Off,
            (Some(_), None) => TlsMode::Server,
            (Some(_), Some(_)) => TlsMode::Mutual,
        };
        (self.grpc.value.unwrap_or(usual), self.http.value.unwrap_or(usual))
    }

    /// The whole; notes what is missing from it.
    pub(super) fn complete(self, problems: &mut Vec<Problem>) -> Option<TlsConfig> {
        let (grpc, http) = self.modes();
        let mut missing = |of: &Origin, message: &str| {
            problems.push(Problem { origin: of.clone(), message: message.to_owned() });
        };
        for mode in [&self.grpc, &self.http] {
            match mode.value {
                Some(TlsMode::Server | TlsMode::Optional | TlsMode::Mutual) if self.certificate.value.is_none() => {
                    missing(&mode.origin, "there is no TLS without tls.certificate and tls.key");
                }
                Some(TlsMode::Optional | TlsMode::Mutual) if self.client_ca.value.is_none() => {
                    missing(&mode.origin, "clients' certificates can't be checked without tls.client_ca");
                }
                _ => {}
            }
        }
        match (self.certificate.value, self.key.value) {
            (Some(certificate), Some(key)) => {
                Some(TlsConfig { certificate, key, client_ca: self.client_ca.value, grpc, http })
            }
            (Some(_), None) => {
                missing(&self.certificate.origin, "its private key is missing: tls.key");
                None
            }
            (None, Some(_)) => {
                missing(&self.key.origin, "its certificate is missing: tls.certificate");
                None
            }
            (None, None) => {
                if self.client_ca.value.is_some() {
                    missing(&self.client_ca.origin, "there is no TLS without tls.certificate and tls.key");
                }
                None
            }
        }
    }
}

fn mode(raw: &Raw) -> Result<TlsMode, String> {
    value::one_of(
        raw,
        &[
            ("off", TlsMode::Off),
            ("server", TlsMode::Server),
            ("optional", TlsMode::Optional),
            ("mutual", TlsMode::Mutual),
        ],
    )
}
