//! A subject's own claims: JSON members beside the registered ones, which they can't override.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};

use serde_json::{Map, Value};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

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

/// Members of JSON that say who somebody is: cleared when dropped, names and numbers too.
#[derive(Clone, PartialEq, Default)]
pub struct Members(Map<String, Value>);

impl From<Map<String, Value>> for Members {
    fn from(members: Map<String, Value>) -> Self {
        Self(members)
    }
}

impl Deref for Members {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl DerefMut for Members {
    fn deref_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({} redacted)", self.0.len())
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        clear_all(&mut self.0);
    }
}

impl ZeroizeOnDrop for Members {}

fn clear_all(members: &mut Map<String, Value>) {
    for (mut name, mut value) in mem::take(members) {
        name.zeroize();
        clear(&mut value);
    }
}

fn clear(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(clear),
        Value::Object(members) => clear_all(members),
        Value::Null | Value::Bool(_) | Value::Number(_) => *value = Value::Null,
    }
}

/// Checked claims, in the order in which the caller gave them.
#[derive(Clone, PartialEq, Default)]
pub struct Claims {
    members: Members,
    bytes: usize,
}

impl Claims {
    /// Checks names, size and depth.
    pub fn new(members: impl Into<Members>) -> Result<Self, InvalidClaims> {
        let members = members.into();
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
        let bytes = serde_json::to_vec(&*members).map_or(usize::MAX, |json| Zeroizing::new(json).len());
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

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    fn claims_are_cleared_with_all_that_is_in_them() {
        fn cleared<T: ZeroizeOnDrop>(_: &T) {}
        cleared(&Claims::default().members);
        let mut value = json!(["text", 4_915_112_345_678_u64, true, ["inner", [{ "name": "deep" }]], { "name": "x" }]);
        clear(&mut value);
        assert_eq!(value, json!(["", null, null, ["", [{}]], {}]));
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
