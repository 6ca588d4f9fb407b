//! `RefreshToken`: a session goes on with its next pair of tokens.

use std::sync::Arc;

use crate::domain::client::{Client, GrantType};
use crate::domain::ids::{Audience, ClientId, Scope};
use crate::domain::refresh::{Refresh, refresh};
use crate::domain::refusal::Refusal;
use crate::domain::session::Device;
use crate::domain::token::Confirmation;

use super::admission::Address;
use super::{Authority, Error, IssuedTokens, Realm, audit};

/// What a caller presents and asks for.
#[derive(Debug, Clone)]
pub struct RefreshToken {
    /// As it was given out.
    pub refresh_token: String,
    /// The client that presents it.
    pub client: Option<ClientId>,
    /// A narrower scope for the access token.
    pub scope: Vec<Scope>,
    /// A narrower audience for the access token.
    pub audience: Vec<Audience>,
    /// The key whose possession the caller has proven.
    pub confirmation: Option<Confirmation>,
    /// What the client says of its device now.
    pub device: Option<Device>,
}

impl Authority {
    /// Exchanges a refresh token. Garbage is refused before anything is read.
    pub async fn refresh_token(&self, realm: &str, request: RefreshToken) -> Result<IssuedTokens, Error> {
        let realm = self.realm(realm)?;
        let refreshed = self.refresh(realm.clone(), request).await;
        refreshed.map_err(|error| realm.told(error))
    }

    async fn refresh(&self, realm: Arc<Realm>, request: RefreshToken) -> Result<IssuedTokens, Error> {
        self.admit_address(&realm, request.device.as_ref().and_then(Address::told))?;
        self.check_index()?;
        let token = realm
            .refresh_key
            .open(&realm.policy.realm, &request.refresh_token)
            .filter(|token| realm.knows(token.session.into()))
            .ok_or(Refusal::RefreshTokenInvalid)?;
        let arrived = self.now();
        if arrived >= token.expires {
            audit::refused(&realm.policy.realm, &Refusal::RefreshTokenExpired);
            return Err(Refusal::RefreshTokenExpired.into());
        }
        let place = token.session.into();
        let request = Refresh {
            token,
            client: request.client,
            confirmation: request.confirmation,
            scope: request.scope,
            audience: request.audience,
            device: request.device,
            arrived,
        };
        self.grant(realm, place, move |record, context| refresh(record, &request, context)).await
    }

    /// The same for a client, if it is registered for the grant.
    pub async fn refresh_token_for(
        &self,
        realm: &str,
        client: &Client,
        request: RefreshToken,
    ) -> Result<IssuedTokens, Error> {
        client.check_grant(GrantType::RefreshToken)?;
        self.refresh_token(realm, RefreshToken { client: Some(client.id.clone()), ..request }).await
    }
}
