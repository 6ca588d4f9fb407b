//! A subject's own claims: JSON members beside the registered ones, which they can't override.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Whose client's session an exchanged token belongs to, where `client_id` is who exchanged it: cutting
/// off either ends the token.
pub const SID_CLIENT_ID: &str = "sid_client_id";

/// Names that the authority sets itself (RFC 7519, section 4.1; RFC 9068; RFC 8693; OpenID Connect
/// `sid` and `azp`; its own `sid_client_id`). A custom claim of such a name is refused.
pub const REGISTERED: [&str; 18] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "cnf",
    "sid",
    SID_CLIENT_ID,
    "act",
    "may_act",
    "azp",
    "auth_time",
    "nonce",
    "typ",
];

/// The most bytes that claims may take as JSON; a token is at most 8 KiB as a whole.
pub const MAX_BYTES: usize = 4096;
const MAX_DEPTH: usize = 8;

/// The most bytes of a claim's name: it is repeated in errors.
const MAX_NAME_BYTES: usize = 255;

/// Why claims were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaims {
    /// The authority sets this one.
    #[error("is a registered claim that the authority sets itself: choose another name")]
    Registered(String),
    /// A name that is too long to be repeated.
    #[error("has a name of {0} bytes, and must have names of at most {MAX_NAME_BYTES}")]
    NameTooLong(usize),
    /// Too many bytes.
    #[error("must take at most {MAX_BYTES} bytes as JSON, not {0}")]
    TooLarge(usize),
    /// Too deep.
    #[error("must not nest deeper than {MAX_DEPTH} levels")]
    TooDeep(String),
}

impl From<InvalidClaims> for Refusal {
    fn from(invalid: InvalidClaims) -> Self {
        let field = match &invalid {
            InvalidClaims::Registered(name) | InvalidClaims::TooDeep(name) => format!("claims.{name}"),
            InvalidClaims::TooLarge(_) | InvalidClaims::NameTooLong(_) => "claims".to_owned(),
        };
        Self::ClaimNotAllowed { field, problem: invalid.to_string() }
    }
}

/// Checked claims, in the order in which the caller gave them.
#[derive(Clone, PartialEq, Default)]
pub struct Claims {
    members: Map<String, Value>,
    bytes: usize,
}

impl Claims {
    /// Checks names, size and depth.
    pub fn new(members: Map<String, Value>) -> Result<Self, InvalidClaims> {
        if let Some(name) = members.keys().find(|name| name.len() > MAX_NAME_BYTES) {
            return Err(InvalidClaims::NameTooLong(name.len()));
        }
        if let Some(name) = members.keys().find(|name| REGISTERED.contains(&name.as_str())) {
            return Err(InvalidClaims::Registered(name.clone()));
        }
        if let Some((name, _)) = members.iter().find(|(_, value)| depth(value) > MAX_DEPTH) {
            return Err(InvalidClaims::TooDeep(name.clone()));
        }
        if members.is_empty() {
            return Ok(Self::default());
        }
        let bytes = serde_json::to_vec(&members).map_or(usize::MAX, |json| json.len());
        if bytes > MAX_BYTES {
            return Err(InvalidClaims::TooLarge(bytes));
        }
        Ok(Self { members, bytes })
    }

    /// The members.
    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// How many bytes they take as JSON; none where there are none.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claims({} redacted)", self.members.len())
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(value: Value) -> Map<String, Value> {
        let Value::Object(members) = value else { panic!("an object") };
        members
    }

    #[test]
    fn each_registered_claim_is_refused() {
        for name in REGISTERED {
            let refused = Claims::new(members(json!({ "role": "x", name: 1 })));
            assert_eq!(refused, Err(InvalidClaims::Registered(name.to_owned())));
        }
        assert!(REGISTERED.contains(&SID_CLIENT_ID), "nobody says for himself whose session it is");
    }

    #[test]
    fn size_and_depth_are_bounded() {
        assert!(Claims::new(members(json!({ "a": "x".repeat(4000) }))).is_ok());
        assert!(matches!(Claims::new(members(json!({ "a": "x".repeat(5000) }))), Err(InvalidClaims::TooLarge(_))));
        let long = members(json!({ "n".repeat(256): 1 }));
        assert_eq!(Claims::new(long), Err(InvalidClaims::NameTooLong(256)));
        let deep = (0..9).fold(json!(1), |inner, _| json!([inner]));
        assert!(matches!(Claims::new(members(json!({ "a": deep }))), Err(InvalidClaims::TooDeep(_))));
    }
}
