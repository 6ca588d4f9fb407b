//! A client of a realm: what it may do, as the operator registered it (RFC 6749, section 2). How it
//! proves who it is is not known here.

use std::collections::BTreeSet;

use super::ids::{Audience, ClientId, Scope};
use super::policy::Allowed;
use super::refusal::Refusal;

/// A way to get tokens at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantType {
    /// RFC 6749, section 6.
    RefreshToken,
    /// RFC 6749, section 4.4.
    ClientCredentials,
    /// RFC 8693, section 2.1.
    TokenExchange,
}

impl GrantType {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::RefreshToken, Self::ClientCredentials, Self::TokenExchange];

    /// As `grant_type` says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }
}

/// What a caller may do in its realm beside getting tokens for itself. Which calls that are stands in
/// one table (`authority::authorization`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Vouches for subjects: logs them in, and keeps their sessions going.
    Issuer,
    /// Introspects tokens for its audiences, and follows revocations: a service that takes tokens.
    Introspector,
    /// Sees and ends sessions and tokens of anybody.
    SessionAdmin,
    /// Sees and ends the sessions of one subject, itself. Each bearer of an access token has it.
    SelfService,
    /// Turns the signing keys.
    KeyAdmin,
    /// Sees, and changes nothing.
    Auditor,
    /// Asks whether requests that it holds may pass.
    Gateway,
}

impl Role {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::Issuer,
        Self::Introspector,
        Self::SessionAdmin,
        Self::SelfService,
        Self::KeyAdmin,
        Self::Auditor,
        Self::Gateway,
    ];

    /// As a realm file says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Introspector => "introspector",
            Self::SessionAdmin => "session-admin",
            Self::SelfService => "self-service",
            Self::KeyAdmin => "key-admin",
            Self::Auditor => "auditor",
            Self::Gateway => "gateway",
        }
    }
}

/// What a client may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub id: ClientId,
    /// How it may get tokens.
    pub grants: BTreeSet<GrantType>,
    /// The audiences that it may ask for, and whose tokens it may see.
    pub audiences: Allowed<Audience>,
    /// The scopes that it may ask for.
    pub scopes: Allowed<Scope>,
    /// What else it may do.
    pub roles: BTreeSet<Role>,
}

impl Client {
    /// Refuses a grant that it is not registered for.
    pub fn check_grant(&self, grant: GrantType) -> Result<(), Refusal> {
        if self.grants.contains(&grant) { Ok(()) } else { Err(Refusal::ClientNotPermitted) }
    }

    /// Refuses what takes a role that it does not have.
    pub fn check_role(&self, role: Role) -> Result<(), Refusal> {
        if self.roles.contains(&role) { Ok(()) } else { Err(Refusal::ClientNotPermitted) }
    }

    /// Refuses the first audience or scope that it may not ask for.
    pub fn check_asked(&self, audience: &[Audience], scope: &[Scope]) -> Result<(), Refusal> {
        if let Some(foreign) = audience.iter().find(|audience| !self.audiences.contains(audience)) {
            return Err(Refusal::AudienceNotAllowed(foreign.clone()));
        }
        match scope.iter().find(|scope| !self.scopes.contains(scope)) {
            Some(foreign) => Err(Refusal::ScopeNotGranted(foreign.clone())),
            None => Ok(()),
        }
    }

    /// Whether a token for these audiences is any of its business (RFC 7662, section 2.2).
    pub fn sees(&self, audience: &[Audience]) -> bool {
        audience.iter().any(|audience| self.audiences.contains(audience))
    }
}
