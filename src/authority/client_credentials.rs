//! Tokens for a client itself (RFC 6749, section 4.4): no session, and the client is the subject.

use serde_json::Map;

use crate::domain::client::{Client, GrantType};
use crate::domain::ids::{Audience, Scope, Subject};
use crate::domain::policy::{Allowed, Lifetime};
use crate::domain::session::Device;

use super::issue_token::{IssueKind, IssueToken};
use super::{Authority, Error, IssuedTokens};

impl Authority {
    /// A token for the client. Where it asks for no audience, it gets the realm's default if that is
    /// one of its own, or else its first; where it asks for no scope, all that it is registered for.
    pub async fn grant_client_credentials(
        &self,
        realm: &str,
        client: &Client,
        mut audience: Vec<Audience>,
        mut scope: Vec<Scope>,
    ) -> Result<IssuedTokens, Error> {
        client.check_grant(GrantType::ClientCredentials)?;
        client.check_asked(&audience, &scope)?;
        let default = &self.realm(realm)?.policy.default_audience;
        if audience.is_empty() {
            audience = match &client.audiences {
                Allowed::Only(own) if !own.contains(default) => own.first().cloned().into_iter().collect(),
                _ => vec![default.clone()],
            };
        }
        if audience.is_empty() {
            return Err(Error::invalid("audience", "can't be chosen: the client is registered for none"));
        }
        if let ([], Allowed::Only(own)) = (scope.as_slice(), &client.scopes) {
            scope = own.iter().cloned().collect();
        }
        let request = IssueToken {
            subject: Subject::parse(client.id.as_str())?,
            client: Some(client.id.clone()),
            audience,
            scope,
            claims: Map::new(),
            device: Device::default(),
            lifetime: Lifetime::Standard,
            confirmation: None,
            kind: IssueKind::Sessionless,
            request_id: None,
        };
        self.issue_token(realm, request).await
    }
}
