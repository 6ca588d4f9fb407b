//! `RevokeToken` (RFC 7009): any token of a session ends the session. Idempotent: a token that is
//! not valid is not an error, since its purpose is served; a store that fails is one.

use std::sync::Arc;

use crate::domain::client::{Client, Role};
use crate::domain::end_session::{end_session, revoke_token};
use crate::domain::ids::{ClientId, RealmName, Sid};
use crate::domain::refusal::Refusal;
use crate::domain::revocation::Revision;
use crate::verify::{Rejection, VerifiedToken};

use super::authorization::Permit;
use super::ports::RecordKey;
use super::{Authority, Error, Origin};

/// Revocations of one batch that are under way together, so that they share commits.
const AT_A_TIME: usize = 64;

impl Authority {
    /// Ends what the token belongs to. The revision proves it.
    pub async fn revoke_token(&self, realm: &str, token: &str) -> Result<Revision, Error> {
        let known = self.realm(realm)?;
        self.revoke_by(realm, token, self.realms.readings(known.name())).await
    }

    /// By keys that were read once more than so many times, if need be.
    async fn revoke_by(&self, realm: &str, token: &str, readings: u64) -> Result<Revision, Error> {
        let name = realm;
        let realm = self.realm(realm)?;
        if let Some(refresh) = realm.refresh_key.open(&realm.policy.realm, token) {
            return self.end(name, refresh.session).await;
        }
        let Some(token) = self.signed_here(realm.name(), token, readings).await? else {
            return Ok(self.index.revision());
        };
        match Origin::of(&token) {
            Some(Origin::Session(sid)) => self.end(name, sid).await,
            Some(Origin::Subject(place)) if self.now() < token.expires => {
                let (random, expires) = (token.id.random, token.expires);
                let committed = self
                    .change(&realm, place, move |record, context| revoke_token(record, random, expires, context))
                    .await?;
                Ok(committed.revision.unwrap_or_else(|| self.index.revision()))
            }
            _ => Ok(self.index.revision()),
        }
    }

    /// The same for a client, which ends its own tokens, and those of others if it has the role.
    pub async fn revoke_token_for(&self, realm: &str, client: &Client, token: &str) -> Result<Revision, Error> {
        if client.check_role(Role::SessionAdmin).is_err() {
            match self.client_of(realm, token).await? {
                Some(owner) if owner == client.id => {}
                Some(_) => return Err(Refusal::ClientNotPermitted.into()),
                None => return self.end_again(realm, token).await,
            }
        }
        self.revoke_token(realm, token).await
    }

    /// The same for any caller.
    pub async fn revoke_token_by(&self, by: &Permit, token: &str) -> Result<Revision, Error> {
        let realm = by.realm().name().as_str();
        match by.client() {
            Some(client) => self.revoke_token_for(realm, client, token).await,
            None => self.revoke_token(realm, token).await,
        }
    }

    /// Of a session that is over, whoever's it was: nothing is written, but maybe the end is not certain yet.
    async fn end_again(&self, realm: &str, token: &str) -> Result<Revision, Error> {
        let known = self.realm(realm)?;
        match known.refresh_key.open(known.name(), token) {
            Some(refresh) => self.end(realm, refresh.session).await,
            None => Ok(self.index.revision()),
        }
    }

    /// Whose token it is; `None` if nothing is left to revoke. A session's client never changes, so
    /// that nothing is missed between this and the end.
    pub(super) async fn client_of(&self, realm: &str, token: &str) -> Result<Option<ClientId>, Error> {
        let name = realm;
        let realm = self.realm(realm)?;
        match realm.refresh_key.open(&realm.policy.realm, token) {
            Some(refresh) => match self.session(name, refresh.session).await {
                Ok((_, live)) => Ok(Some(live.session.client)),
                Err(Error::Refused(_)) => Ok(None),
                Err(error) => Err(error),
            },
            None => {
                let readings = self.realms.readings(realm.name());
                Ok(self.signed_here(realm.name(), token, readings).await?.map(|token| token.client.clone()))
            }
        }
    }

    /// An access token of the realm, expired or not, since its session may live on; `None` if it is none
    /// for certain: a key that is unknown may be newer than the last reading.
    async fn signed_here(
        &self,
        realm: &RealmName,
        token: &str,
        readings: u64,
    ) -> Result<Option<Arc<VerifiedToken>>, Error> {
        match self.verifier.authenticate(realm, token) {
            Err(Rejection::UnknownKey) => {
                self.realms.read_after(realm, readings).await?;
                Ok(self.verifier.authenticate(realm, token).ok())
            }
            checked => Ok(checked.ok()),
        }
    }

    /// Revokes many; each for itself, so that one failure hides no success.
    pub async fn revoke_tokens(&self, realm: &str, tokens: &[String]) -> Result<Vec<Result<Revision, Error>>, Error> {
        // One reading serves the whole batch.
        let readings = self.realms.readings(self.realm(realm)?.name());
        let mut outcomes = Vec::with_capacity(tokens.len());
        for batch in tokens.chunks(AT_A_TIME) {
            let revoking = batch.iter().map(|token| self.revoke_by(realm, token, readings));
            outcomes.extend(futures::future::join_all(revoking).await);
        }
        Ok(outcomes)
    }

    /// Ends one session.
    pub(super) async fn end(&self, realm: &str, sid: Sid) -> Result<Revision, Error> {
        let realm = self.realm(realm)?;
        let committed =
            self.change(&realm, sid.into(), move |record, context| end_session(record, sid.session, context)).await?;
        match committed.revision {
            Some(revision) => Ok(revision),
            None => self.proof(&realm.record_key(sid.into()), sid).await,
        }
    }

    /// For a session that has ended before, maybe by a commit whose outcome nobody knew, maybe at
    /// another instance: as certain as if it ended now, and known here before that is answered.
    async fn proof(&self, key: &RecordKey, sid: Sid) -> Result<Revision, Error> {
        if self.index.session_ended(sid.session) {
            return Ok(self.store.proof(key).await?);
        }
        self.proof_of(key).await
    }

    /// For what is done already: as certain as if it were done now, and known here.
    pub(super) async fn proof_of(&self, key: &RecordKey) -> Result<Revision, Error> {
        let revision = self.store.proof(key).await?;
        self.wait_until_covered(&revision).await?;
        Ok(revision)
    }
}
