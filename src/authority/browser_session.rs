//! A browser's session, which proves itself by its cookie alone: the one exemption from client
//! authentication, for sessions whose client has nothing to prove it with.

use crate::domain::refusal::Refusal;

use super::refresh_token::RefreshToken;
use super::{Authority, Error, IssuedTokens};

impl Authority {
    /// The session's next pair of tokens. Not for a registered client's session, or else its stolen
    /// refresh token would be worth more here than at the token endpoint.
    pub async fn refresh_browser_session(
        &self,
        realm: &str,
        refresh_token: Option<String>,
    ) -> Result<IssuedTokens, Error> {
        let known = self.realm(realm)?;
        let refresh_token = refresh_token.ok_or_else(|| known.told(Refusal::RefreshTokenInvalid))?;
        let client = self.client_of(realm, &refresh_token).await?;
        if client.is_some_and(|client| known.clients.find(&client).is_some()) {
            return Err(known.told(Refusal::ClientMismatch));
        }
        let (scope, audience) = (Vec::new(), Vec::new());
        let refresh_token = refresh_token.into();
        let request = RefreshToken { refresh_token, client: None, scope, audience, confirmation: None, device: None };
        self.refresh_token(realm, request).await
    }
}
