//! Who makes a request, as a verified token says. Handlers find it in the request's extensions.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::ids::{Audience, ClientId, Scope, Sid, Subject};
use crate::domain::time::Timestamp;
use crate::verify::VerifiedToken;

/// Claims that name roles: a string, or an array of strings.
const ROLE_CLAIMS: [&str; 2] = ["role", "roles"];

/// The bearer of a token that was valid when it was presented. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct Identity(Arc<VerifiedToken>);

impl Identity {
    pub(super) fn new(token: Arc<VerifiedToken>) -> Self {
        Self(token)
    }

    /// `sub`.
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// `client_id`.
    pub fn client(&self) -> &ClientId {
        &self.0.client
    }

    /// `aud`.
    pub fn audience(&self) -> &[Audience] {
        &self.0.audience
    }

    /// `scope`.
    pub fn scope(&self) -> &[Scope] {
        &self.0.scope
    }

    /// `sid`; `None` for a token without a session.
    pub fn session(&self) -> Option<Sid> {
        self.0.session
    }

    /// `exp`.
    pub fn expires(&self) -> Timestamp {
        self.0.expires
    }

    /// A claim beyond the registered ones.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }

    /// Whether the scope was granted.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.scope.iter().any(|granted| granted.as_str() == scope)
    }

    /// Whether `role` or `roles` names it.
    pub fn has_role(&self, role: &str) -> bool {
        ROLE_CLAIMS.iter().filter_map(|name| self.claim(name)).any(|claim| holds(claim, &Value::from(role)))
    }

    /// Whether a claim is this value, or an array that holds it.
    pub fn has_claim(&self, name: &str, value: &Value) -> bool {
        self.claim(name).is_some_and(|claim| holds(claim, value))
    }
}

fn holds(claim: &Value, wanted: &Value) -> bool {
    claim == wanted || claim.as_array().is_some_and(|several| several.contains(wanted))
}

/// Who somebody is does not belong in logs.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(token {})", self.0.id)
    }
}
