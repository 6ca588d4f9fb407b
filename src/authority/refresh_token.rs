//! `RefreshToken`: a session goes on with its next pair of tokens.

use std::sync::Arc;

use crate::domain::client::{Client, GrantType};
use crate::domain::ids::{Audience, ClientId, Scope};
use crate::domain::refresh::{Refresh, refresh};
use crate::domain::refusal::Refusal;
use crate::domain::session::{Device, Session};
use crate::domain::token::{Confirmation, PresentedToken};
use crate::domain::transition::Decision;

use super::authorization::Permit;
use super::clients::Clients;
use super::throttle::Address;
use super::{Authority, Error, IssuedTokens, Realm, audit};

/// What a caller presents and asks for.
#[derive(Debug, Clone)]
pub struct RefreshToken {
    /// As it was given out.
    pub refresh_token: PresentedToken,
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
        self.refresh_within(self.realm(realm)?, None, request).await
    }

    /// The same for a caller, within the audiences and scopes that it is registered for.
    pub async fn refresh_token_by(&self, by: &Permit, request: RefreshToken) -> Result<IssuedTokens, Error> {
        self.refresh_within(by.realm().clone(), by.client().cloned(), request).await
    }

    async fn refresh_within(
        &self,
        realm: Arc<Realm>,
        bound: Option<Client>,
        request: RefreshToken,
    ) -> Result<IssuedTokens, Error> {
        let refreshed = self.refresh(realm.clone(), bound, request).await;
        refreshed.map_err(|error| realm.told(error))
    }

    async fn refresh(
        &self,
        realm: Arc<Realm>,
        bound: Option<Client>,
        request: RefreshToken,
    ) -> Result<IssuedTokens, Error> {
        self.throttle_address(&realm, request.device.as_ref().and_then(Address::told))?;
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
        let clients = realm.clients.clone();
        self.grant(realm, place, move |record, context| {
            let session = record.and_then(|record| record.session(request.token.session.session));
            match (&bound, session) {
                (Some(client), Some(session)) => match check_bound(client, session, &request, &clients) {
                    Ok(()) => refresh(record, &request, context),
                    Err(refusal) => Decision::refuse(refusal),
                },
                _ => refresh(record, &request, context),
            }
        })
        .await
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

/// What the next access token will be for must be the client's to give, and the session not that of another
/// client that has to prove itself: whoever stole its token could come here instead (RFC 6749, section 6).
fn check_bound(client: &Client, session: &Session, request: &Refresh, clients: &Clients) -> Result<(), Refusal> {
    if session.client != client.id && clients.find(&session.client).is_some() {
        return Err(Refusal::ClientMismatch);
    }
    let audience = if request.audience.is_empty() { &session.audience } else { &request.audience };
    let scope = if request.scope.is_empty() { &session.scope } else { &request.scope };
    client.check_asked(audience, scope)
}
