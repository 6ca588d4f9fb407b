//! A browser's session, which proves itself by its cookie alone: the one exemption from client
//! authentication, for sessions whose client has nothing to prove it with.

use crate::domain::refusal::Refusal;

use super::refresh_token::RefreshToken;
use super::{Authority, Error, IssuedTokens};

impl Authority {
    /// The session's next pair of tokens. Not for a registered client's session, or else its stolen
    /// refresh token would be worth more here than at the token endpoint.
    pub async fn refresh_browser_session(&self, realm: &str, refresh_token: String) -> Result<IssuedTokens, Error> {
        let client = self.client_of(realm, &refresh_token).await?;
        let clients = &self.realm(realm)?.clients;
        if client.is_some_and(|client| clients.find(&client).is_some()) {
            return Err(Refusal::ClientMismatch.into());
        }
        let (scope, audience) = (Vec::new(), Vec::new());
        let request = RefreshToken { refresh_token, client: None, scope, audience, confirmation: None, device: None };
        self.refresh_token(realm, request).await
    }
}
