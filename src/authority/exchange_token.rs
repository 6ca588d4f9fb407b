//! Token exchange (RFC 8693): a client presents a token that it was given and gets one that may less.
//! Nothing is committed: the new token falls with the session of the old one and with that session's client.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::claims::Claims;
use crate::domain::client::Client;
use crate::domain::exchange::{self, Exchange};
use crate::domain::ids::{Audience, KeyNumber, Scope, Subject};
use crate::domain::refusal::Refusal;
use crate::domain::token::{AccessToken, Actor, PresentedToken};
use crate::domain::transition::Grant;
use crate::verify::{VerifiedToken, Verifier};

use super::{Authority, Error, IssuedTokens, Realm, audit, fresh};

/// What a client presents and asks for.
#[derive(Debug, Clone)]
pub struct ExchangeToken {
    /// An active access token of the realm.
    pub subject_token: PresentedToken,
    /// Another one, whose subject acts; without it, the client does.
    pub actor_token: Option<PresentedToken>,
    /// A narrower audience.
    pub audience: Vec<Audience>,
    /// A narrower scope.
    pub scope: Vec<Scope>,
}

impl Authority {
    /// Exchanges a token.
    pub async fn exchange_token(
        &self,
        realm: &str,
        client: &Client,
        request: ExchangeToken,
    ) -> Result<IssuedTokens, Error> {
        let realm = self.realm(realm)?;
        self.check_index()?;
        let given = access_token(&realm, &*self.active(&realm, &request.subject_token).await?)?;
        let actor = match &request.actor_token {
            Some(token) => Some(self.actor(&realm, client, token).await?),
            None => None,
        };
        let exchange = Exchange { given, actor, audience: request.audience, scope: request.scope };
        let realm = self.realms.signing(realm).await?;
        let random = fresh(&*self.entropy).token;
        let now = self.now();
        let (key, _) = realm.signing_key(now).ok_or(Error::NoSigningKey)?;
        let decided = exchange::exchange(&exchange, client, now, realm.policy.access_lifetime, key, random);
        let access = decided.inspect_err(|refusal| audit::refused(&realm.policy.realm, refusal))?;
        let access_token = self.signer.sign(&realm.issuer, &access).await?;
        audit::exchanged(&realm.policy.realm, &client.id, access.session);
        Ok(IssuedTokens { grant: Grant { access, refresh: None }, access_token, refresh_token: None })
    }

    async fn active(&self, realm: &Realm, token: &str) -> Result<Arc<VerifiedToken>, Error> {
        let check = |verifier: &Verifier| verifier.verify(realm.name(), token, self.now());
        let verified = self.with_newest_keys(realm.name(), check).await?;
        Ok(verified.map_err(|_| Refusal::NotExchangeable("the subject_token or actor_token is not active"))?)
    }

    /// Who acts: only a token that the client could have been given says so.
    async fn actor(&self, realm: &Realm, client: &Client, token: &str) -> Result<Subject, Error> {
        let actor = self.active(realm, token).await?;
        if !client.sees(&actor.audience) {
            return Err(Refusal::NotExchangeable("the subject_token or actor_token is not active").into());
        }
        Ok(actor.subject.clone())
    }
}

/// What a verified token says, as the rules see it.
fn access_token(realm: &Realm, token: &VerifiedToken) -> Result<AccessToken, Error> {
    let mut claims = token.claims.clone();
    // Written from `subject` again.
    claims.shift_remove(&realm.policy.profile.subject_claim);
    let actor = claims.shift_remove("act").as_ref().and_then(actor);
    Ok(AccessToken {
        id: token.id,
        realm: token.realm.clone(),
        profile: realm.policy.profile.clone(),
        // Whichever signed it, the active key signs the next.
        key: KeyNumber(0),
        subject: token.subject.clone(),
        client: token.client.clone(),
        audience: token.audience.clone(),
        scope: token.scope.clone(),
        claims: Claims::new(claims).map_err(Refusal::from)?,
        confirmation: token.confirmation.clone(),
        actor,
        session: token.session,
        session_client: token.session_client.clone(),
        issued: token.issued,
        expires: token.expires,
    })
}

fn actor(value: &Value) -> Option<Actor> {
    let members: &Map<_, _> = value.as_object()?;
    let subject = Subject::parse(members.get("sub")?.as_str()?).ok()?;
    Some(Actor { subject, actor: members.get("act").and_then(actor).map(Box::new) })
}
