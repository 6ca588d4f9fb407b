//! An authority of the tests' own: certificates of any name and age, good or not.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

/// An authority. Two of them trust each other's certificates in nothing.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For a server at 127.0.0.1.
    pub(crate) fn server(&self) -> Pair {
        self.sign(SanType::IpAddress([127, 0, 0, 1].into()), 2100)
    }

    /// For a client.
    pub(crate) fn client(&self) -> Pair {
        self.sign(SanType::URI("spiffe://example.org/shop".try_into().expect("ASCII")), 2100)
    }

    /// For a client that has missed its renewal.
    pub(crate) fn expired_client(&self) -> Pair {
        self.sign(SanType::URI("spiffe://example.org/shop".try_into().expect("ASCII")), 2001)
    }

    /// For a client that has only a common name.
    pub(crate) fn nameless_client(&self) -> Pair {
        self.sign(SanType::Rfc822Name("shop@example.org".try_into().expect("ASCII")), 2100)
    }

    fn sign(&self, name: SanType, until: i32) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(name);
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// The client's certificate may do everything.
const CLIENTS: &str = r#"
[realm]
name = "default"

[[realm.clients]]
id = "shop"
certificates = ["spiffe://example.org/shop"]
audiences = "any"
scopes = "any"
roles = ["issuer", "introspector", "session-admin", "self-service", "key-admin", "auditor", "gateway"]
"#;

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A server's files.
pub(crate) struct Files<'a>(pub(crate) &'a Path);

impl Files<'_> {
    pub(crate) fn write(&self, server: &Pair, clients: &Authority) {
        fs::write(self.path("server.pem"), &server.certificate).expect("writes");
        fs::write(self.path("server-key.pem"), &server.key).expect("writes");
        fs::write(self.path("ca.pem"), clients.pem()).expect("writes");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A configuration that names them, with some more lines of `[tls]` and then other tables.
    pub(crate) fn config(&self, more: &str) -> String {
        let file = |name| self.path(name).display().to_string();
        let text = format!(
            "[tls]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n{more}\n{CLIENTS}",
            file("server.pem"),
            file("server-key.pem"),
            file("ca.pem")
        );
        let config = self.path("server.toml");
        fs::write(&config, text).expect("writes");
        config.display().to_string()
    }
}
