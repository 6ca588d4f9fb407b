//! Whom a client's certificate names. Only certificates that an authority vouched for come here; what
//! the named one may do is decided elsewhere.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::domain::caller_name::names_a_workload;

/// A caller that has proven who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// `spiffe://TRUST-DOMAIN/PATH`: a workload, by the only URI of its certificate.
    Spiffe(String),
    /// The DNS names of a certificate that names no workload; at least one, in lower case.
    Dns(Vec<String>),
}

impl Identity {
    /// Reads the names; `None` where there are none that can be told apart. The common name is not
    /// one of them (RFC 9525, section 2).
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut uris = certificate.valid_uri_names().filter(|uri| is_spiffe(uri));
        match (uris.next(), certificate.valid_uri_names().count()) {
            (Some(id), 1) => Self::spiffe(id),
            // Two, of which the wrong one could be believed (X509-SVID, section 2).
            (Some(_), _) => None,
            (None, _) => {
                let names: Vec<_> = certificate.valid_dns_names().map(str::to_ascii_lowercase).collect();
                // A certificate for many hosts is not one of them.
                let plain = names.iter().all(|name| !name.contains('*'));
                (plain && !names.is_empty()).then_some(Self::Dns(names))
            }
        }
    }

    /// The names, as the certificate says them.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Spiffe(id) => std::slice::from_ref(id),
            Self::Dns(names) => names,
        }
    }

    /// The workload of a SPIFFE id, if it is one.
    pub fn spiffe(id: &str) -> Option<Self> {
        names_a_workload(id).then(|| Self::Spiffe(id.to_owned()))
    }
}

fn is_spiffe(uri: &str) -> bool {
    uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_name_is_a_spiffe_id_or_dns_names() {
        let spiffe = |id: &str| Some(Identity::Spiffe(id.to_owned()));
        let dns = |names: &[&str]| Some(Identity::Dns(names.iter().map(ToString::to_string).collect()));
        #[rustfmt::skip]
        let table: &[(&[&str], &[&str], Option<Identity>)] = &[
            (&["spiffe://example.org/shop/web"], &[], spiffe("spiffe://example.org/shop/web")),
            (&["spiffe://example.org/shop"], &["shop.example.org"], spiffe("spiffe://example.org/shop")),
            (&[], &["Shop.example.org", "b"], dns(&["shop.example.org", "b"])),
            (&["https://example.org/"], &["a"], dns(&["a"])),
            (&[], &[], None),
            (&["https://example.org/"], &[], None),
            (&[], &["*.example.org"], None),
            (&["spiffe://a/b", "spiffe://c/d"], &["a"], None),
            (&["spiffe://a/b", "https://example.org/"], &["a"], None),
            (&["spiffe://example.org"], &["a"], None),
            (&["spiffe://example.org/"], &["a"], None),
            (&["spiffe://Example.org/a"], &[], None),
            (&["SPIFFE://example.org/a"], &["a"], None),
            (&["spiffe://example.org/a//b"], &[], None),
            (&["spiffe://example.org/a/../b"], &[], None),
            (&["spiffe://example.org/a?b"], &[], None),
            (&["spiffe://user@example.org/a"], &[], None),
            (&["spiffe:///a"], &[], None),
        ];
        for (uris, names, expected) in table {
            let mut params = CertificateParams::default();
            params.subject_alt_names = uris
                .iter()
                .map(|uri| SanType::URI((*uri).try_into().expect("ASCII")))
                .chain(names.iter().map(|name| SanType::DnsName((*name).try_into().expect("ASCII"))))
                .collect();
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("a certificate");
            assert_eq!(Identity::of(certificate.der()).as_ref(), expected.as_ref(), "{uris:?} {names:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_names_nobody() {
        assert_eq!(Identity::of(&CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01])), None);
    }
}
