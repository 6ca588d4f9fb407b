//! What a realm tells callers instead of why a token was refused. Logs know why all the same.

use super::ids::Message;

/// A realm's own words; without any, each reason is told as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Messages {
    /// Of any access token that is not good, or not there.
    pub access_invalid: Option<Message>,
    /// Of an authentic access token that was ended; otherwise the same as of any other.
    pub revoked: Option<Message>,
    /// Of any refresh token that is no longer answered.
    pub refresh_invalid: Option<Message>,
}

/// What is known of an access token that is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing that its bearer may learn: it may be made up.
    Nothing,
    /// That the realm made it, and ended it before its time.
    Revoked,
}

impl Messages {
    /// What the bearer of an access token is told.
    pub fn of_access(&self, known: Known) -> Option<Message> {
        let own = self.revoked.as_ref().filter(|_| known == Known::Revoked);
        own.or(self.access_invalid.as_ref()).cloned()
    }
}
