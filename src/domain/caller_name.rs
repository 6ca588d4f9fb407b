//! Names by which callers are known elsewhere: in certificates, and to a Kubernetes cluster. Who vouched
//! for a name is not known here.

use std::fmt;
use std::sync::Arc;

use super::ids::InvalidName;

/// Longest by its specification (SPIFFE-ID, section 2.3).
const MAX_SPIFFE_ID: usize = 2_048;
/// What tells the name of a host from a SPIFFE id, where an operator writes it.
const DNS: &str = "dns:";

/// A name in a certificate: a SPIFFE id, or the name of a host in lower case. No text is both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateName(Arc<str>);

impl CertificateName {
    /// Parses `spiffe://TRUST-DOMAIN/PATH` or `dns:NAME`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let problem = "must be a SPIFFE id such as \"spiffe://example.org/shop\", or \"dns:\" and a host's name";
        let wrong = InvalidName { what: "certificate", problem };
        match text.strip_prefix(DNS) {
            Some(host) if names_a_host(host) => Ok(Self(host.to_ascii_lowercase().into())),
            None if names_a_workload(text) => Ok(Self(text.into())),
            _ => Err(wrong),
        }
    }

    /// As the certificate says it: without `dns:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if names_a_workload(&self.0) { "" } else { DNS };
        write!(f, "{prefix}{}", self.0)
    }
}

/// Whether it is a trust domain and a path of segments, in the one spelling that the specification allows.
pub fn names_a_workload(id: &str) -> bool {
    let Some((domain, path)) = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else { return false };
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let segment = |segment: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
    };
    id.len() <= MAX_SPIFFE_ID && !domain.is_empty() && domain.bytes().all(lower) && path.split('/').all(segment)
}

/// RFC 1123, section 2.1; with `_`, which certificates have.
fn names_a_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A service account of a cluster: `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceAccount(Arc<str>);

impl ServiceAccount {
    /// Parses `NAMESPACE/NAME`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let problem = "must be a namespace and a name such as \"shop/web\"";
        let named =
            text.split_once('/').is_some_and(|(namespace, name)| names_an_object(namespace) && names_an_object(name));
        if named { Ok(Self(text.into())) } else { Err(InvalidName { what: "service account", problem }) }
    }

    /// `NAMESPACE/NAME`
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As Kubernetes names objects: a subdomain by RFC 1123.
fn names_an_object(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_named_by_workload_or_by_host() {
        for (text, shown) in [
            ("spiffe://example.org/shop", Some("spiffe://example.org/shop")),
            ("dns:Shop.example.org", Some("dns:shop.example.org")),
            ("shop.example.org", None),
            ("dns:*.example.org", None),
            ("dns:", None),
            ("dns:a..b", None),
            ("dns:spiffe://example.org/shop", None),
            ("spiffe://Example.org/shop", None),
        ] {
            assert_eq!(CertificateName::parse(text).ok().map(|name| name.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn an_account_has_one_namespace_and_one_name() {
        assert_eq!(ServiceAccount::parse("shop/web").expect("an account").as_str(), "shop/web");
        for wrong in ["", "shop", "shop/", "/web", "shop/web/x", "Shop/web", "system:serviceaccount:shop:web", "a b/c"]
        {
            assert!(ServiceAccount::parse(wrong).is_err(), "{wrong}");
        }
    }
}
