//! `IntrospectToken` (RFC 7662): is this token good, and what does it say. An outage is an error,
//! never an inactive token.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use crate::domain::client::Client;
use crate::domain::ids::{Audience, Scope, Subject};
use crate::domain::policy::Allowed;
use crate::domain::refresh::accepts;
use crate::domain::revocation::Revision;
use crate::domain::session::{Place, Session};
use crate::domain::token::RefreshToken;
pub use crate::verify::VerifiedToken;
use crate::verify::Verifier;

use super::authorization::Permit;
use super::ports::RecordKey;
use super::{Authority, Error, Origin, Realm, is_cut_off};

/// How long a caller waits for a revision that this instance has not read yet.
const FRESHNESS_WAIT: Duration = Duration::from_secs(4);

/// How fresh the answer must be.
#[derive(Debug, Clone, Default)]
pub enum Consistency {
    /// What this instance knows now.
    #[default]
    MinimizeLatency,
    /// As of this revision or later.
    AtLeastAsFresh(Revision),
    /// As the record says.
    FullyConsistent,
}

/// What a caller asks.
#[derive(Debug, Clone)]
pub struct IntrospectToken {
    /// Any string.
    pub token: String,
    /// The token must be for this audience.
    pub required_audience: Option<Audience>,
    /// The token must have all of these.
    pub required_scope: Vec<Scope>,
    /// How fresh the answer must be.
    pub consistency: Consistency,
}

/// What an active token is.
#[derive(Debug, Clone)]
pub enum Active {
    /// An access token, and what it says.
    Access(Arc<VerifiedToken>),
    /// A refresh token, and the session that it would continue.
    Refresh(Box<ActiveRefresh>),
}

/// The session behind an active refresh token.
#[derive(Debug, Clone)]
pub struct ActiveRefresh {
    /// Whose session it is.
    pub subject: Subject,
    /// The session.
    pub session: Session,
    /// Where the record stands.
    pub place: Place,
    /// The token's issuer, which is its audience too.
    pub issuer: Arc<str>,
}

/// A token that is active, and as of when.
#[derive(Debug, Clone)]
pub struct Introspection {
    /// What it is.
    pub active: Active,
    /// What this instance knew of revocations that could have ended it.
    pub revision: Revision,
}

impl Authority {
    /// Introspects an access or a refresh token for a caller, which sees only tokens for its audiences, and
    /// refresh tokens of its own: any other looks inactive, as one that does not exist (RFC 7662, section
    /// 2.2). `None`: not active, for whatever reason.
    pub async fn introspect_token_for(
        &self,
        by: &Permit,
        request: &IntrospectToken,
    ) -> Result<Option<Introspection>, Error> {
        self.wait_for(&request.consistency).await?;
        self.introspect_visible(by, request).await
    }

    /// Introspects many tokens, as of one moment or later; answers are in the order of the tokens.
    pub async fn introspect_tokens_for(
        &self,
        by: &Permit,
        tokens: Vec<String>,
        consistency: Consistency,
    ) -> Result<Vec<Option<Introspection>>, Error> {
        self.wait_for(&consistency).await?;
        let mut answers = Vec::with_capacity(tokens.len());
        for (done, token) in tokens.into_iter().enumerate() {
            let consistency = consistency.clone();
            let request = IntrospectToken { token, required_audience: None, required_scope: Vec::new(), consistency };
            answers.push(self.introspect_visible(by, &request).await?);
            // A thousand unknown tokens are a thousand signatures to check: others get their turn.
            if done % 16 == 15 {
                tokio::task::yield_now().await;
            }
        }
        Ok(answers)
    }

    async fn introspect_visible(&self, by: &Permit, request: &IntrospectToken) -> Result<Option<Introspection>, Error> {
        let realm = by.realm();
        let found = match realm.refresh_key.open(&realm.policy.realm, &request.token) {
            Some(token) => self.active_refresh(realm, &token).await?,
            None => self.active_access(realm, request).await?,
        };
        let sees = |active: &Active| by.client().is_none_or(|client| sees(client, active)) && meets(active, request);
        let answer = found.filter(|introspection| sees(&introspection.active));
        // Whoever checks an access token serves its holder: the session is in use.
        if let Some(Introspection { active: Active::Access(token), .. }) = &answer {
            self.note_use(realm, token);
        }
        Ok(answer)
    }

    async fn wait_for(&self, consistency: &Consistency) -> Result<(), Error> {
        match consistency {
            Consistency::AtLeastAsFresh(revision) => {
                self.check_index()?;
                self.check_plausible(revision)?;
                self.wait_until_covered(revision).await
            }
            Consistency::MinimizeLatency | Consistency::FullyConsistent => self.check_index(),
        }
    }

    /// Waits until this instance has read the log up to there.
    pub(super) async fn wait_until_covered(&self, revision: &Revision) -> Result<(), Error> {
        let covered = tokio::time::timeout(FRESHNESS_WAIT, self.index.covered(revision)).await;
        covered.map_err(|_| Error::NotFresh)
    }

    /// Numbers in the log are microseconds: nobody needs to wait for one that no store has given out.
    fn check_plausible(&self, revision: &Revision) -> Result<(), Error> {
        let latest = u64::try_from((self.now() + FRESHNESS_WAIT).millis()).unwrap_or(0).saturating_mul(1_000);
        let invented = revision.positions().iter().any(|position| position.number > latest);
        if invented { Err(Error::NotFresh) } else { Ok(()) }
    }

    async fn active_access(&self, realm: &Realm, request: &IntrospectToken) -> Result<Option<Introspection>, Error> {
        let check = |verifier: &Verifier| verifier.verify(realm.name(), &request.token, self.now());
        let token = match self.with_newest_keys(realm.name(), check).await? {
            Ok(token) => token,
            Err(rejection) => {
                debug!(realm = realm.policy.realm.as_str(), reason = rejection.label(), "access token not active");
                return Ok(None);
            }
        };
        if matches!(request.consistency, Consistency::FullyConsistent) && !self.recorded(realm, &token).await? {
            return Ok(None);
        }
        let place = match Origin::of(&token) {
            Some(Origin::Session(sid)) => Some(sid.into()),
            Some(Origin::Subject(place)) => Some(place),
            None => None,
        };
        let revision = self.known_of(realm, place);
        // Of an entry that came after the first look, the revision says that it is in.
        let answer = Introspection { active: Active::Access(token.clone()), revision };
        Ok(if self.index.ended(&token) { None } else { Some(answer) })
    }

    /// How far is known what ends tokens of this record, or of the whole realm.
    fn known_of(&self, realm: &Realm, place: Option<Place>) -> Revision {
        let of_realm = self.store.partition(&RecordKey::realm(realm.name().clone()));
        let of_record = place.map_or(of_realm, |place| self.store.partition(&realm.record_key(place)));
        self.index.revision_of([of_realm, of_record])
    }

    /// Whether the record still stands behind an access token.
    async fn recorded(&self, realm: &Realm, token: &VerifiedToken) -> Result<bool, Error> {
        let now = self.now();
        match Origin::of(token) {
            Some(Origin::Session(sid)) => {
                let record = self.subjects.read(&realm.record_key(sid.into())).await?;
                let session = record.as_ref().and_then(|record| record.session(sid.session));
                Ok(session.is_some_and(|session| {
                    let stands = now < session.ends() && token.id.epoch >= session.access_epoch;
                    stands && !is_cut_off(&self.index, &realm.policy.realm, session)
                }))
            }
            Some(Origin::Subject(place)) => {
                let record = self.subjects.read(&realm.record_key(place)).await?;
                Ok(record.is_none_or(|record| token.id.epoch >= record.ended_below))
            }
            None => Ok(false),
        }
    }

    /// A refresh token is active while the rules would answer it.
    async fn active_refresh(&self, realm: &Realm, token: &RefreshToken) -> Result<Option<Introspection>, Error> {
        let place = token.session.into();
        let revision = self.known_of(realm, Some(place));
        let Some(record) = self.subjects.read(&realm.record_key(place)).await? else { return Ok(None) };
        let now = self.now().max(record.changed);
        let (Some(session), Some(subject)) = (record.session(token.session.session), record.subject.clone()) else {
            return Ok(None);
        };
        if !accepts(session, token, now, &realm.policy) || is_cut_off(&self.index, &realm.policy.realm, session) {
            return Ok(None);
        }
        let (session, issuer) = (session.clone(), realm.issuer.clone());
        let active = Active::Refresh(Box::new(ActiveRefresh { subject, session, place, issuer }));
        Ok(Some(Introspection { active, revision }))
    }
}

/// Whether a client may know of it.
fn sees(client: &Client, active: &Active) -> bool {
    match active {
        Active::Access(token) => client.sees(&token.audience),
        // Its audience is the issuer, which is "any" client's too.
        Active::Refresh(refresh) => refresh.session.client == client.id || client.audiences == Allowed::Any,
    }
}

fn meets(active: &Active, request: &IntrospectToken) -> bool {
    let is_for = |required: &Audience| match active {
        Active::Access(token) => token.audience.contains(required),
        Active::Refresh(refresh) => *refresh.issuer == *required.as_str(),
    };
    let scope = match active {
        Active::Access(token) => &token.scope,
        Active::Refresh(refresh) => &refresh.session.scope,
    };
    request.required_audience.as_ref().is_none_or(is_for)
        && request.required_scope.iter().all(|required| scope.contains(required))
}
