//! A subject's sessions: listed, ended one by one or all at once.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::claims::Claims;
use crate::domain::client::Client;
use crate::domain::end_session::{end_all, erase};
use crate::domain::ids::{Sid, Subject};
use crate::domain::live::{LiveSession, live_sessions};
use crate::domain::refusal::Refusal;
use crate::domain::revocation::Revision;
use crate::domain::session::{Place, Session};
use crate::domain::subject::SubjectRecord;
use crate::domain::transition::Decision;
use crate::domain::update_claims::{AccessTokens, update_claims};

use super::authorization::Permit;
use super::{Authority, Error, Realm, is_cut_off};

/// The live sessions of a subject.
#[derive(Debug)]
pub struct Sessions {
    /// Where their record stands.
    pub place: Place,
    /// Whose they are.
    pub subject: Subject,
    /// Newest first.
    pub sessions: Vec<LiveSession>,
}

impl Authority {
    /// The subject's live sessions.
    pub async fn list_sessions(&self, realm: &str, subject: Subject) -> Result<Sessions, Error> {
        let realm = self.realm(realm)?;
        self.check_index()?;
        let place = realm.place(&subject);
        let record = self.subjects.read(&realm.record_key(place)).await?;
        let sessions =
            live_sessions(record.as_ref(), self.now(), |session| is_cut_off(&self.index, realm.name(), session));
        Ok(Sessions { place, subject, sessions })
    }

    /// One live session and its subject.
    pub async fn session(&self, realm: &str, sid: Sid) -> Result<(Subject, LiveSession), Error> {
        let realm = self.realm(realm)?;
        self.check_index()?;
        let record = self.subjects.read(&realm.record_key(sid.into())).await?.ok_or(Refusal::SessionEnded)?;
        let ended = |session: &Session| session.id != sid.session || is_cut_off(&self.index, realm.name(), session);
        match (&record.subject, live_sessions(Some(&record), self.now(), ended).pop()) {
            (Some(subject), Some(session)) => Ok((subject.clone(), session)),
            _ => Err(record.refusal_for_absent(sid.session).into()),
        }
    }

    /// Replaces the claims of a session; the revision proves that access tokens were ended, if so.
    pub async fn update_session_claims(
        &self,
        realm: &str,
        sid: Sid,
        claims: Map<String, Value>,
        access_tokens: AccessTokens,
    ) -> Result<Revision, Error> {
        self.update_claims_within(&self.realm(realm)?, None, sid, claims, access_tokens).await
    }

    /// The same for a caller: of sessions for the audiences and scopes that it is registered for.
    pub async fn update_session_claims_by(
        &self,
        by: &Permit,
        sid: Sid,
        claims: Map<String, Value>,
        access_tokens: AccessTokens,
    ) -> Result<Revision, Error> {
        self.update_claims_within(by.realm(), by.issuer().cloned(), sid, claims, access_tokens).await
    }

    async fn update_claims_within(
        &self,
        realm: &Arc<Realm>,
        bound: Option<Client>,
        sid: Sid,
        claims: Map<String, Value>,
        access_tokens: AccessTokens,
    ) -> Result<Revision, Error> {
        let claims = Claims::new(claims).map_err(Refusal::from)?;
        let may = move |session: &Session| match &bound {
            Some(client) => client.check_asked(&session.audience, &session.scope),
            None => Ok(()),
        };
        let committed = self
            .change(realm, sid.into(), move |record, context| {
                match record.and_then(|record| record.session(sid.session)).map_or(Ok(()), &may) {
                    Ok(()) => update_claims(record, sid.session, &claims, access_tokens, context),
                    Err(refusal) => Decision::refuse(refusal),
                }
            })
            .await?;
        committed.answer?;
        Ok(committed.revision.unwrap_or_else(|| self.index.revision()))
    }

    /// Forgets everything about a subject and ends all its tokens; how many sessions, and proof.
    pub async fn erase_subject(&self, realm: &str, subject: &Subject) -> Result<(usize, Revision), Error> {
        let realm = self.realm(realm)?;
        let committed = self.change(&realm, realm.place(subject), erase).await?;
        Ok((committed.answer?, committed.revision.unwrap_or_else(|| self.index.revision())))
    }

    /// Ends one session with all its tokens.
    pub async fn revoke_session(&self, realm: &str, session: Sid) -> Result<Revision, Error> {
        self.end(realm, session).await
    }

    /// Ends the subject's sessions but one, and its tokens without a session; how many, and proof.
    pub async fn revoke_all_sessions(
        &self,
        realm: &str,
        subject: Subject,
        except: Option<Sid>,
    ) -> Result<(usize, Revision), Error> {
        let realm = self.realm(realm)?;
        let place = realm.place(&subject);
        if except.is_some_and(|except| Place::from(except) != place) {
            return Err(Error::invalid("except_session_id", "must be a session of the subject"));
        }
        let except = except.map(|sid| sid.session);
        let committed = self
            .change(&realm, place, move |record: Option<&SubjectRecord>, context| end_all(record, except, context))
            .await?;
        Ok((committed.answer?, committed.revision.unwrap_or_else(|| self.index.revision())))
    }
}
