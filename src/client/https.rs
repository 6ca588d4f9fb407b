//! TLS under a key set's HTTP: whom to believe that they are the server. Knows no key set.

use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// What was given holds no certificate of an authority, or one that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be certificates of authorities, as PEM")]
pub struct NoAuthority;

/// Over TLS where the URL says so, believing whom this machine believes.
pub(super) fn connector(url: &Uri) -> Connector {
    let mut roots = RootCertStore::empty();
    if url.scheme() == Some(&Scheme::HTTPS) {
        // Without any, every server is refused.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    builder(roots).https_or_http().enable_http1().build()
}

/// Over TLS alone, believing these and nobody else.
pub(super) fn trusting(authorities: &[u8]) -> Result<Connector, NoAuthority> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        roots.add(certificate.map_err(|_| NoAuthority)?).map_err(|_| NoAuthority)?;
    }
    if roots.is_empty() {
        return Err(NoAuthority);
    }
    Ok(builder(roots).https_only().enable_http1().build())
}

fn builder(roots: RootCertStore) -> HttpsConnectorBuilder<WantsSchemes> {
    // Named, since a service may have other cryptography beside.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("aws-lc has what TLS 1.3 needs");
    HttpsConnectorBuilder::new().with_tls_config(config.with_root_certificates(roots).with_no_client_auth())
}
