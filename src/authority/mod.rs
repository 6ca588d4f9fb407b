//! The use cases, one file each, and the ports that they need.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::{KeyNumber, RealmName, Route, Sid};
use crate::domain::session::{Place, Session};
use crate::domain::subject::SubjectRecord;
use crate::domain::time::Timestamp;
use crate::domain::transition::{Context, Decision, Fresh, Grant};
use crate::signing::{SignError, Signer};
use crate::tasks::Tasks;
use crate::verify::revocations::RevocationIndex;
use crate::verify::service_account::Cluster;
use crate::verify::{Rejection, VerifiedToken, Verifier};

pub mod attribution;
mod audit;
mod authenticate_client;
pub mod authorization;
mod browser_session;
pub mod caller;
pub mod check_request;
mod client_credentials;
pub mod client_proof;
pub mod clients;
mod code_record;
pub mod company;
mod cut_off;
mod devices;
mod error;
pub mod exchange_token;
pub mod import_key;
pub mod introspect_token;
mod introspection_statement;
pub mod issue_token;
mod jwks;
pub mod keys;
pub mod one_time_codes;
pub mod outbox;
pub mod page;
pub(crate) mod persisted;
pub mod ports;
mod realm;
mod realm_change;
pub(crate) mod realm_record;
mod realms;
mod receipts;
pub mod redefine_realms;
pub mod refresh_token;
pub mod revocation_feed;
mod revocation_log;
mod revoke_token;
mod sending;
pub mod sessions;
mod subjects;
mod throttle;
mod touches;
pub mod watch_sessions;

pub use cut_off::end_realm_at_rest;
pub use error::Error;
pub use jwks::JsonWebKeySet;
pub use realm::Realm;

use company::Company;
use ports::{Clock, Entropy, Peers, Store};
use revocation_feed::RevocationFeed;

/// The service behind every edge.
#[derive(Debug)]
pub struct Authority {
    realms: realms::Realms,
    store: Arc<dyn Store>,
    subjects: subjects::Subjects,
    touches: touches::Touches,
    throttle: throttle::Throttle,
    outbox: outbox::Outbox,
    tasks: Tasks,
    signer: Arc<Signer>,
    verifier: Arc<Verifier>,
    index: Arc<RevocationIndex>,
    feed: Arc<RevocationFeed>,
    company: Company,
    max_staleness: Duration,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    cluster: Option<Arc<Cluster>>,
}

/// What an authority is made of.
#[derive(Debug)]
pub struct Parts {
    /// The realms in service.
    pub realms: Vec<Arc<Realm>>,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Who else is on it.
    pub peers: Arc<dyn Peers>,
    /// Commits go on here when their callers go away.
    pub tasks: Tasks,
    /// Holds the realms' private keys.
    pub signer: Arc<Signer>,
    /// Holds their public ones.
    pub verifier: Arc<Verifier>,
    /// What has been revoked.
    pub index: Arc<RevocationIndex>,
    /// How long that may go without hearing from the store before nothing is answered from memory.
    pub max_staleness: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Whose service accounts may be clients, if any.
    pub cluster: Option<Arc<Cluster>>,
}

/// A pair of tokens as the client gets them.
#[derive(Clone)]
pub struct IssuedTokens {
    /// What they grant.
    pub grant: Grant,
    /// The signed access token.
    pub access_token: String,
    /// The sealed refresh token; `None` without a session.
    pub refresh_token: Option<String>,
}

impl std::fmt::Debug for IssuedTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuedTokens(..)")
    }
}

impl Authority {
    /// Puts the parts together, and the realms' keys into signer and verifier.
    pub fn new(parts: Parts) -> Result<Self, Error> {
        let realms = realms::Realms::new(&parts)?;
        let Parts { store, peers, tasks, signer, verifier, index, max_staleness, clock, entropy, cluster, .. } = parts;
        let subjects = subjects::Subjects::new(store.clone(), index.clone(), entropy.clone(), tasks.clone());
        let feed = Arc::new(RevocationFeed::new(index.clone()));
        let company = Company::new(peers, entropy.clone());
        Ok(Self {
            realms,
            store,
            subjects,
            touches: touches::Touches::default(),
            throttle: throttle::Throttle::default(),
            outbox: outbox::Outbox::default(),
            tasks,
            signer,
            verifier,
            index,
            feed,
            company,
            max_staleness,
            clock,
            entropy,
            cluster,
        })
    }

    /// The realm of a request; empty means `default`.
    pub fn realm(&self, name: &str) -> Result<Arc<Realm>, Error> {
        let name = if name.is_empty() { "default" } else { name };
        RealmName::parse(name)
            .ok()
            .and_then(|name| self.realms.realm(&name))
            .ok_or_else(|| Error::UnknownRealm(name.to_owned()))
    }

    /// Who signs for the realms.
    pub fn signer(&self) -> Arc<Signer> {
        self.signer.clone()
    }

    /// Before the whole log has been read, and long after it was read last, nobody knows which sessions
    /// were cut off.
    fn check_index(&self) -> Result<(), Error> {
        let fresh = self.index.is_complete() && self.index.staleness() <= self.max_staleness;
        if fresh { Ok(()) } else { Err(Error::NotFresh) }
    }

    /// How much of its lifetime an access token has left: `expires_in` (RFC 6749, section 5.1).
    pub fn lifetime_left(&self, tokens: &IssuedTokens) -> Duration {
        tokens.grant.access.expires.since(self.now())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Checks a token, and again where its key is not known here: another instance may just have made it.
    async fn with_newest_keys<T>(
        &self,
        realm: &RealmName,
        check: impl Fn(&Verifier) -> Result<T, Rejection>,
    ) -> Result<Result<T, Rejection>, Error> {
        match check(&self.verifier) {
            Err(Rejection::UnknownKey) => {
                self.realms.read_again(realm).await?;
                Ok(check(&self.verifier))
            }
            checked => Ok(checked),
        }
    }

    /// Runs a transition that grants tokens. The signature is made while the commit is under way;
    /// that of a commit which lost its race is thrown away.
    async fn grant(
        &self,
        realm: Arc<Realm>,
        place: Place,
        mut transition: impl FnMut(Option<&SubjectRecord>, &Context<'_>) -> Decision<Grant> + Send + 'static,
    ) -> Result<IssuedTokens, Error> {
        let realm = self.realms.signing(realm).await?;
        let (signer, signing) = (self.signer.clone(), realm.clone());
        let committed = self
            .change(&realm, place, move |record, context| {
                let Decision { answer, record, facts } = transition(record, context);
                let grant = match answer {
                    Ok(grant) => grant,
                    Err(refusal) => return Decision { answer: Err(refusal), record, facts },
                };
                match signer.start(&signing.issuer, &grant.access) {
                    Ok(signature) => Decision { answer: Ok(Ok((grant, signature))), record, facts },
                    // Nothing is committed whose token can't be handed out.
                    Err(error) => Decision::answer(Err(error)),
                }
            })
            .await?;
        let answer = committed.answer.inspect_err(|refusal| self.throttle.count(refusal));
        let (grant, signature) = answer??;
        let refresh_token =
            grant.refresh.as_ref().map(|refresh| realm.refresh_key.seal(&realm.policy.realm, &refresh.token));
        Ok(IssuedTokens { access_token: signature.await?, refresh_token, grant })
    }

    /// Runs a transition on a subject's record.
    async fn change<A: Send + 'static>(
        &self,
        realm: &Arc<Realm>,
        place: Place,
        mut transition: impl FnMut(Option<&SubjectRecord>, &Context<'_>) -> Decision<A> + Send + 'static,
    ) -> Result<subjects::Committed<A>, Error> {
        let (clock, entropy, index) = (self.clock.clone(), self.entropy.clone(), self.index.clone());
        let deciding = realm.clone();
        let change = move |record: Option<&SubjectRecord>| {
            let sessions = record.map_or(&[][..], |record| &record.sessions);
            let cut_off: Vec<_> = sessions
                .iter()
                .filter(|session| is_cut_off(&index, &deciding.policy.realm, session))
                .map(|session| session.id)
                .collect();
            let now = clock.now();
            let context = Context {
                now,
                policy: &deciding.policy,
                place,
                cut_off: &cut_off,
                // The signer has no key 0.
                key: deciding.signing_key(now).map_or(KeyNumber(0), |(number, _)| number),
                fresh: fresh(&*entropy),
            };
            transition(record, &context)
        };
        self.subjects.change(realm.record_key(place), place.subject, change).await
    }
}

/// Where an access token comes from.
enum Origin {
    /// A session.
    Session(Sid),
    /// A subject's record, where there is no session.
    Subject(Place),
}

impl Origin {
    fn of(token: &VerifiedToken) -> Option<Self> {
        match (token.session, token.id.route) {
            (Some(sid), _) | (None, Route::Session(sid)) => Some(Self::Session(sid)),
            (None, Route::Subject { pepper_id, subject }) => Some(Self::Subject(Place { pepper_id, subject })),
            (None, Route::BySid) => None,
        }
    }
}

/// Whether a session in a record was ended from outside it. The index may also know of an end that
/// the record lost in a failover.
fn is_cut_off(index: &RevocationIndex, realm: &RealmName, session: &Session) -> bool {
    index.session_ended(session.id)
        || index.cut_off(realm, &session.client).is_some_and(|cut_off| session.created <= cut_off)
}

fn fresh(entropy: &dyn Entropy) -> Fresh {
    let mut drawn = [[0; 16]; 3];
    entropy.fill(drawn.as_flattened_mut());
    let [session, secret, token] = drawn;
    Fresh { session, secret, token }
}

impl From<SignError> for Error {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Overloaded => Self::Overloaded,
            SignError::NoSuchKey => Self::NoSigningKey,
            SignError::TooLarge => Self::invalid("claims", "make the token larger than 8 KiB"),
            other => Self::internal(other),
        }
    }
}
