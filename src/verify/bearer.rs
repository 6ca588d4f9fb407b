//! Which of three kinds of token a caller presents. Nothing is authentic yet: a wrong word about its kind
//! only leads to a check that it fails.

use serde_json::Value;

use super::json;
use super::jwt::{ACCESS_TOKEN, MAX_TOKEN_BYTES, Parts};

const PAYLOAD_DEPTH: usize = 10;

/// What a token says to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// An access token of ours, or garbage.
    AccessToken,
    /// A token of a Kubernetes cluster.
    ServiceAccount,
    /// A client's assertion (RFC 7523).
    Assertion,
}

impl Bearer {
    /// By type and issuer; `cluster` is the issuer of the cluster's tokens.
    pub fn of(token: &str, cluster: Option<&str>) -> Self {
        let parts = if token.len() <= MAX_TOKEN_BYTES { Parts::parse(token).ok() } else { None };
        let Some(parts) = parts else { return Self::AccessToken };
        if parts.header.get("typ").and_then(Value::as_str) == Some(ACCESS_TOKEN) {
            return Self::AccessToken;
        }
        let claims = json::object(&parts.payload, PAYLOAD_DEPTH).unwrap_or_default();
        let issuer = claims.get("iss").and_then(Value::as_str);
        if cluster.is_some() && issuer == cluster { Self::ServiceAccount } else { Self::Assertion }
    }
}
