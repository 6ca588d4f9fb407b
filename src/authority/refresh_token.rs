//! `RefreshToken`: a session goes on with its next pair of tokens.

use crate::domain::ids::{Audience, ClientId, Scope};
use crate::domain::refresh::{Refresh, cut_off, refresh};
use crate::domain::refusal::Refusal;
use crate::domain::token::Confirmation;

use super::{Authority, Error, IssuedTokens, is_cut_off};

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
}

impl Authority {
    /// Exchanges a refresh token. Garbage is refused before anything is read.
    pub async fn refresh_token(&self, realm: &str, request: RefreshToken) -> Result<IssuedTokens, Error> {
        let realm = self.realm(realm)?;
        let token = realm
            .refresh_key
            .open(&realm.policy.realm, &request.refresh_token)
            .filter(|token| realm.knows(token.session.into()))
            .ok_or(Refusal::RefreshTokenInvalid)?;
        if self.now() >= token.expires {
            return Err(Refusal::RefreshTokenExpired.into());
        }
        let place = token.session.into();
        let session = token.session.session;
        let (index, name) = (self.index.clone(), realm.policy.realm.clone());
        let request = Refresh {
            token,
            client: request.client,
            confirmation: request.confirmation,
            scope: request.scope,
            audience: request.audience,
        };
        self.grant(realm, place, move |record, context| {
            let found = record.and_then(|record| Some((record, record.session(session)?)));
            match found.filter(|(_, session)| is_cut_off(&index, &name, session)) {
                Some((record, session)) => cut_off(record, session, context),
                None => refresh(record, &request, context),
            }
        })
        .await
    }
}
