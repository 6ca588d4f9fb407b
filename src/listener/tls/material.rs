//! Certificates and keys from their files, checked as far as one side can: each error names the file
//! and what is wrong with it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};
use zeroize::Zeroizing;

use crate::config::{TlsConfig, TlsMode};

/// Some hundred certificates; whoever names a device by mistake does not fill the memory.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is wrong with a file: which, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It is not there, or not for us.
    #[error("{}: can't be read: {source}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else, or nothing, is in it.
    #[error("{}: must hold {expected} as PEM: {reason}", .file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
        /// What is missing.
        expected: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// It is PEM of something that can't be used.
    #[error("{}: can't be used: {reason}", .file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Two files of different pairs.
    #[error("{}: is not the key of the certificate in {}", .key.display(), .certificate.display())]
    Mismatch {
        /// The file of the key.
        key: PathBuf,
        /// The other file.
        certificate: PathBuf,
    },
    /// No client would take it any more.
    #[error("{}: the certificate expired at {}: renew it", .file.display(), rfc_3339(*.at))]
    Expired {
        /// The file.
        file: PathBuf,
        /// When.
        at: UnixTime,
    },
    /// No client would take it yet.
    #[error("{}: the certificate is not valid before {}: is the clock right?", .file.display(), rfc_3339(*.from))]
    TooEarly {
        /// The file.
        file: PathBuf,
        /// When it will be.
        from: UnixTime,
    },
}

/// What the files hold.
#[derive(PartialEq, Eq)]
pub(super) struct Texts {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Texts {
    pub(super) fn read(files: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: Zeroizing::new(read(&files.key)?),
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::with_capacity(16 << 10);
    File::open(file)
        .and_then(|opened| opened.take(MAX_FILE_BYTES).read_to_end(&mut text))
        .map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })?;
    Ok(text)
}

/// The same, parsed and fitting together.
pub(super) struct Material<'a> {
    files: &'a TlsConfig,
    provider: Arc<CryptoProvider>,
    certified: Arc<SingleCertAndKey>,
    clients: Option<Arc<RootCertStore>>,
}

impl<'a> Material<'a> {
    pub(super) fn parse(texts: &Texts, files: &'a TlsConfig, time: &dyn TimeProvider) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&texts.certificate, &files.certificate)?;
        check_time(chain.first(), &files.certificate, time)?;
        let key = PrivateKeyDer::from_pem_slice(&texts.key)
            .map_err(|error| not_pem(&files.key, "an unencrypted private key", &error))?;
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { key: files.key.clone(), certificate: files.certificate.clone() }
            }
            rustls::Error::InvalidCertificate(_) => unusable(&files.certificate, &error),
            _ => unusable(&files.key, &error),
        })?;
        let clients = match (&texts.client_ca, &files.client_ca) {
            (Some(text), Some(file)) => Some(Arc::new(authorities(text, file)?)),
            _ => None,
        };
        Ok(Self { files, provider, certified: Arc::new(SingleCertAndKey::from(certified)), clients })
    }

    /// How a listener speaks that asks its clients for what `mode` says.
    pub(super) fn server(
        &self,
        mode: TlsMode,
        protocol: &[u8],
        time: Arc<dyn TimeProvider>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_details(self.provider.clone(), time)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&self.files.certificate, &error))?;
        let builder = match (mode, &self.clients) {
            (TlsMode::Optional | TlsMode::Mutual, Some(roots)) => {
                let file = self.files.client_ca.as_deref().unwrap_or(&self.files.certificate);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), self.provider.clone());
                let verifier = if mode == TlsMode::Optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(file, &error))?)
            }
            // Never less than what was asked for.
            (TlsMode::Optional | TlsMode::Mutual, None) => {
                return Err(unusable(&self.files.certificate, &"clients can't be checked without a client_ca"));
            }
            (TlsMode::Off | TlsMode::Server, _) => builder.with_no_client_auth(),
        };
        let mut server = builder.with_cert_resolver(self.certified.clone());
        server.alpn_protocols = vec![protocol.to_vec()];
        // A session resumed would not look at the client's certificate again: not at its expiry, and
        // not at whether its authority is still trusted.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Arc::new(server))
    }
}

fn certificates(text: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(not_pem(file, "certificates", &"there is none in it")),
        Err(error) => Err(not_pem(file, "certificates", &error)),
    }
}

fn authorities(text: &[u8], file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(text, file)? {
        roots.add(certificate).map_err(|error| unusable(file, &error))?;
    }
    Ok(roots)
}

/// Whether a client could take the certificate now.
fn check_time(own: Option<&CertificateDer<'_>>, file: &Path, time: &dyn TimeProvider) -> Result<(), TlsError> {
    let (Some(own), Some(now)) = (own, time.current_time()) else { return Ok(()) };
    let own = EndEntityCert::try_from(own).map_err(|error| unusable(file, &error))?;
    // Time is what a verifier looks at first; that nobody is trusted here ends it after that.
    match own.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[], &[], now, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            Err(TlsError::Expired { file: file.to_owned(), at: not_after })
        }
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
            Err(TlsError::TooEarly { file: file.to_owned(), from: not_before })
        }
        _ => Ok(()),
    }
}

fn not_pem(file: &Path, expected: &'static str, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::NotPem { file: file.to_owned(), expected, reason: reason.to_string() }
}

fn unusable(file: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::Unusable { file: file.to_owned(), reason: reason.to_string() }
}

fn rfc_3339(time: UnixTime) -> impl std::fmt::Display {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + std::time::Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
    use rustls::time_provider::DefaultTimeProvider;
    use tempfile::TempDir;

    use super::*;

    /// A certificate of its own authority that is valid for these years, and its key.
    fn pair(from: i32, until: i32) -> (String, String) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let directory = TempDir::new().expect("a directory");
        let file = |name: &str, text: &str| {
            let file = directory.path().join(name);
            fs::write(&file, text).expect("writes");
            file
        };
        let (good, key) = pair(2000, 2100);
        let (expired, early) = (pair(2000, 2001), pair(2100, 2101));
        let (_, other_key) = pair(2000, 2100);
        let broken = good.replace("MII", "!II");
        let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for (certificate, key, client_ca, says) in [
            (good.as_str(), key.as_str(), good.as_str(), None),
            ("", &key, &good, Some("certificate.pem: must hold certificates as PEM: there is none in it")),
            (&key, &key, &good, Some("certificate.pem: must hold certificates as PEM: there is none in it")),
            (&broken, &key, &good, Some("certificate.pem: must hold certificates as PEM: ")),
            (not_x509, &key, &good, Some("certificate.pem: can't be used: ")),
            (&expired.0, &expired.1, &good, Some("certificate.pem: the certificate expired at 2001-01-01T00:00:00Z")),
            (&early.0, &early.1, &good, Some("certificate.pem: the certificate is not valid before 2100-01-01T00:00")),
            (&good, "", &good, Some("key.pem: must hold an unencrypted private key as PEM")),
            (&good, &good, &good, Some("key.pem: must hold an unencrypted private key as PEM")),
            (&good, &locked, &good, Some("key.pem: must hold an unencrypted private key as PEM")),
            (&good, &other_key, &good, Some("key.pem: is not the key of the certificate in ")),
            (&good, &key, "", Some("client_ca.pem: must hold certificates as PEM")),
            (&good, &key, not_x509, Some("client_ca.pem: can't be used: ")),
        ] {
            let files = TlsConfig {
                certificate: file("certificate.pem", certificate),
                key: file("key.pem", key),
                client_ca: Some(file("client_ca.pem", client_ca)),
                grpc: TlsMode::Mutual,
                http: TlsMode::Server,
            };
            let texts = Texts::read(&files).expect("they are there");
            let parsed = Material::parse(&texts, &files, &DefaultTimeProvider);
            let said = parsed.err().map(|error| error.to_string());
            match (says, &said) {
                (None, None) => {}
                (Some(says), Some(said)) => {
                    let own = format!("{}/{says}", directory.path().display());
                    assert!(said.starts_with(&own) && !said.contains("BEGIN"), "{said}\nshould say {says}");
                }
                _ => panic!("{said:?}, expected {says:?}"),
            }
        }
        let nowhere = directory.path().join("nowhere.pem");
        let error = read(&nowhere).expect_err("not there").to_string();
        assert!(error.starts_with(&format!("{}: can't be read: ", nowhere.display())), "{error}");
    }

    #[test]
    fn clients_are_never_asked_for_less_than_was_said() {
        let directory = TempDir::new().expect("a directory");
        let (certificate, key) = pair(2000, 2100);
        let files = TlsConfig {
            certificate: directory.path().join("certificate.pem"),
            key: directory.path().join("key.pem"),
            client_ca: None,
            grpc: TlsMode::Mutual,
            http: TlsMode::Optional,
        };
        fs::write(&files.certificate, certificate).expect("writes");
        fs::write(&files.key, key).expect("writes");
        let texts = Texts::read(&files).expect("they are there");
        let material = Material::parse(&texts, &files, &DefaultTimeProvider).expect("in order");
        for (mode, served) in [(TlsMode::Server, true), (TlsMode::Optional, false), (TlsMode::Mutual, false)] {
            assert_eq!(material.server(mode, b"h2", Arc::new(DefaultTimeProvider)).is_ok(), served, "{mode:?}");
        }
    }
}
