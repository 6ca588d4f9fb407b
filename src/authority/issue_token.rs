//! `IssueToken`: a login becomes a session with its first pair of tokens, or one token without one.

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
#[derive(Debug, Clone)]
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
        let realm = self.realm(realm)?;
        self.throttle_address(&realm, Address::told(&request.device))?;
        let kind = request.kind;
        let login = login(&realm, request)?;
        let place = realm.place(&login.subject);
        self.grant(realm, place, move |record, context| match kind {
            IssueKind::Session => open_session(record, &login, context),
            IssueKind::Sessionless => issue_sessionless(record, &login, context),
        })
        .await
    }

    /// The same for a caller, within the audiences and scopes that it is registered for.
    pub async fn issue_token_for(&self, by: &Permit, request: IssueToken) -> Result<IssuedTokens, Error> {
        if let Some(client) = by.client() {
            let default = std::slice::from_ref(&by.realm().policy.default_audience);
            let audience = if request.audience.is_empty() { default } else { &request.audience };
            client.check_asked(audience, &request.scope)?;
        }
        self.issue_token(by.realm().name().as_str(), request).await
    }
}

fn login(realm: &Realm, request: IssueToken) -> Result<Login, Error> {
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
