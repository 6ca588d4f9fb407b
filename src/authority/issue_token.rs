//! `IssueToken`: a login becomes a session with its first pair of tokens, or one token without one.

use std::fmt;
use std::sync::Arc;

use crate::domain::claims::Claims;
use crate::domain::ids::{Audience, ClientId, Scope, Subject};
use crate::domain::open_session::{Login, issue_sessionless, open_session};
use crate::domain::policy::Lifetime;
use crate::domain::refusal::Refusal;
use crate::domain::session::Device;
use crate::domain::subject::RequestId;
use crate::domain::token::Confirmation;

use super::authorization::Permit;
use super::throttle::Address;
use super::{Authority, Error, IssuedTokens, Realm};

/// What a caller asks for; names are parsed, defaults not yet filled in.
#[derive(Clone)]
pub struct IssueToken {
    /// Who logged in.
    pub subject: Subject,
    /// Through which client; the realm may have a default.
    pub client: Option<ClientId>,
    /// What the tokens are for; empty: the realm's default.
    pub audience: Vec<Audience>,
    /// What they may do.
    pub scope: Vec<Scope>,
    /// Unregistered claims.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// Where.
    pub device: Device,
    /// For how long.
    pub lifetime: Lifetime,
    /// The key to bind the tokens to.
    pub confirmation: Option<Confirmation>,
    /// Whether a session is wanted.
    pub kind: IssueKind,
    /// Names the request, so that it can be repeated.
    pub request_id: Option<RequestId>,
}

impl fmt::Debug for IssueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssueToken(..)")
    }
}

impl IssueToken {
    /// Refuses what the caller is not registered for.
    pub(super) fn check_registered(&self, by: &Permit) -> Result<(), Error> {
        let Some(client) = by.client() else { return Ok(()) };
        let default = std::slice::from_ref(&by.realm().policy.default_audience);
        let audience = if self.audience.is_empty() { default } else { &self.audience };
        Ok(client.check_asked(audience, &self.scope)?)
    }
}

/// Whether a login opens a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueKind {
    /// A session, with a refresh token.
    Session,
    /// An access token alone.
    Sessionless,
}

/// A request id as the record keeps it: digests, since both may hold personal data.
pub fn request_id(name: &str, content: &[u8]) -> RequestId {
    let digest = |bytes: &[u8]| {
        let mut cut = [0; 16];
        cut.copy_from_slice(&aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref()[..16]);
        cut
    };
    RequestId { name: digest(name.as_bytes()), content: digest(content) }
}

impl Authority {
    /// Issues tokens for a subject whose identity the caller vouches for.
    pub async fn issue_token(&self, realm: &str, request: IssueToken) -> Result<IssuedTokens, Error> {
        self.issue_in(self.realm(realm)?, request).await
    }

    /// The same for a caller, within the audiences and scopes that it is registered for.
    pub async fn issue_token_for(&self, by: &Permit, request: IssueToken) -> Result<IssuedTokens, Error> {
        request.check_registered(by)?;
        self.issue_in(by.realm().clone(), request).await
    }

    async fn issue_in(&self, realm: Arc<Realm>, request: IssueToken) -> Result<IssuedTokens, Error> {
        self.throttle_address(&realm, Address::told(&request.device))?;
        let kind = request.kind;
        let login = login(&realm, request)?;
        self.open(realm, kind, login).await
    }

    /// The same for a login whose address has been admitted.
    pub(super) async fn open(&self, realm: Arc<Realm>, kind: IssueKind, login: Login) -> Result<IssuedTokens, Error> {
        let place = realm.place(&login.subject);
        self.grant(realm, place, move |record, context| match kind {
            IssueKind::Session => open_session(record, &login, context),
            IssueKind::Sessionless => issue_sessionless(record, &login, context),
        })
        .await
    }
}

/// The login that is asked for, with the realm's defaults.
pub(super) fn login(realm: &Realm, request: IssueToken) -> Result<Login, Error> {
    let policy = &realm.policy;
    let client = request.client.or_else(|| policy.default_client.clone());
    let claims = Claims::new(request.claims).map_err(Refusal::from)?;
    Ok(Login {
        subject: request.subject,
        client: client.ok_or_else(|| Error::invalid("client_id", "must be given in this realm"))?,
        audience: if request.audience.is_empty() { vec![policy.default_audience.clone()] } else { request.audience },
        scope: request.scope,
        claims,
        device: request.device,
        lifetime: request.lifetime,
        confirmation: request.confirmation,
        request_id: request.request_id,
    })
}
