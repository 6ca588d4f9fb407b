//! The Kubernetes cluster whose service accounts may be clients. Fetches no key.

use std::path::PathBuf;

use http::Uri;

use super::document::Raw;
use super::layers::{Layers, Setting};
use super::problem::Problem;
use super::value;

/// A cluster that names its service accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The audience to which they must be bound, and to no other.
    pub audience: String,
    /// Where its key set is.
    pub key_set: KeySetSource,
}

/// Where a key set is, and read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetSource {
    /// In a file.
    File(PathBuf),
    /// At a URL, `http` only.
    Url(String),
}

/// What was said, before it is known whether it fits together.
pub(super) struct Said {
    issuer: Setting<String>,
    audience: Setting<String>,
    file: Setting<PathBuf>,
    url: Setting<String>,
}

impl Said {
    pub(super) fn read(layers: &mut Layers<'_>) -> Self {
        Self {
            issuer: layers.read("kubernetes", "issuer", text),
            audience: layers.read("kubernetes", "audience", text),
            file: layers.read("kubernetes", "jwks_file", value::path),
            url: layers.read("kubernetes", "jwks_url", url),
        }
    }

    /// The whole, if anything was said; notes what is missing from it.
    pub(super) fn complete(self, problems: &mut Vec<Problem>) -> Option<KubernetesConfig> {
        let Self { issuer, audience, file, url } = self;
        let origins = [
            (issuer.value.is_some(), &issuer.origin),
            (audience.value.is_some(), &audience.origin),
            (file.value.is_some(), &file.origin),
            (url.value.is_some(), &url.origin),
        ];
        let origin = origins.into_iter().find(|(said, _)| *said).map(|(_, origin)| origin.clone())?;
        let key_set = match (file.value, url.value) {
            (Some(file), _) => Some(KeySetSource::File(file)),
            (None, Some(url)) => Some(KeySetSource::Url(url)),
            (None, None) => None,
        };
        match (issuer.value, audience.value, key_set) {
            (Some(issuer), Some(audience), Some(key_set)) => Some(KubernetesConfig { issuer, audience, key_set }),
            _ => {
                let message = "[kubernetes] needs issuer, audience, and jwks_file or jwks_url".to_owned();
                problems.push(Problem { origin, message });
                None
            }
        }
    }
}

fn text(raw: &Raw) -> Result<String, String> {
    let text = value::text(raw).filter(|text| !text.is_empty()).map(str::to_owned);
    text.ok_or_else(|| "must be text in quotes".to_owned())
}

fn url(raw: &Raw) -> Result<String, String> {
    let url = value::text(raw).filter(|text| {
        let uri: Option<Uri> = text.parse().ok();
        uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()))
    });
    url.map(str::to_owned).ok_or_else(|| {
        "must be a URL such as \"http://127.0.0.1:8001/openid/v1/jwks\": http, to this machine or this pod; for any \
         other way, have the set written to jwks_file"
            .to_owned()
    })
}
