//! What every transition takes and answers. Each is a pure function of a record and a request.

use std::fmt;
use std::time::Duration;

use super::device::Trust;
use super::fact::Fact;
use super::ids::{Audience, KeyNumber, Scope, SessionId, Subject};
use super::policy::RealmPolicy;
use super::refusal::Refusal;
use super::session::{AccessStamp, Place, Session};
use super::subject::SubjectRecord;
use super::time::Timestamp;
use super::token::{AccessToken, RefreshToken};

/// Random values for one transition, drawn before it runs.
#[derive(Clone, Copy)]
pub struct Fresh {
    /// For a new session's id.
    pub session: [u8; 16],
    /// For a new session's secret.
    pub secret: [u8; 16],
    /// For a new access token's id.
    pub token: [u8; 16],
}

/// One of them becomes a session's secret.
impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(..)")
    }
}

/// What a transition may look at beside record and request.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The clock's reading.
    pub now: Timestamp,
    /// The realm's policy.
    pub policy: &'a RealmPolicy,
    /// Where the record stands.
    pub place: Place,
    /// Sessions of the record that were ended from outside it: their client or their realm was cut
    /// off, or the record lost their end in a failover.
    pub cut_off: &'a [SessionId],
    /// The realm's active signing key.
    pub key: KeyNumber,
    /// Random values.
    pub fresh: Fresh,
}

impl Context<'_> {
    /// Now, but never before the record's last change: a clock that was set back un-expires nothing.
    pub(super) fn now(&self, record: Option<&SubjectRecord>) -> Timestamp {
        record.map_or(self.now, |record| self.now.max(record.changed))
    }

    /// The stamp of an access token issued now, on such a device, that expires with `ends` at the latest.
    pub(super) fn stamp(
        &self,
        now: Timestamp,
        trust: Trust,
        ends: Timestamp,
        epoch: u32,
        scope: Option<Vec<Scope>>,
        audience: Option<Vec<Audience>>,
    ) -> AccessStamp {
        let expires = (now.floor_to_second() + self.policy.access_lifetime(trust)).min(ends.floor_to_second());
        AccessStamp { random: self.fresh.token, issued: now, expires, epoch, key: self.key, scope, audience }
    }
}

/// Tokens that the rules allow, to be encoded and signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The access token.
    pub access: AccessToken,
    /// How to go on; `None` without a session.
    pub refresh: Option<Continuation>,
}

/// The refresh token of a grant.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuation {
    /// The token.
    pub token: RefreshToken,
    /// When it expires unless it is used.
    pub expires: Timestamp,
    /// When the client should use it.
    pub refresh_after: Timestamp,
}

impl Grant {
    /// The tokens of a session's current generation.
    pub(super) fn of(session: &Session, subject: Subject, context: &Context<'_>) -> Self {
        let access = session.access_token(context.place, context.policy, subject);
        let refresh = Continuation {
            token: session.refresh_token(context.place),
            expires: session.ends(),
            refresh_after: refresh_after(&access),
        };
        Self { access, refresh: Some(refresh) }
    }
}

/// When a third of the lifetime is left, give or take a tenth of it: clients that logged in together
/// don't come back together. The jitter comes from the token id, so a repeated answer is the same.
fn refresh_after(access: &AccessToken) -> Timestamp {
    let lifetime = access.expires.since(access.issued);
    let jitter = u32::from(access.id.random[0]);
    access.issued + lifetime.mul_f64(2.0 / 3.0 - 0.1) + Duration::mul_f64(lifetime, 0.2 * f64::from(jitter) / 255.0)
}

/// What a transition decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<A> {
    /// For the caller.
    pub answer: Result<A, Refusal>,
    /// To be committed; `None` leaves the record as it is. A refusal may change it too.
    pub record: Option<SubjectRecord>,
    /// What happened.
    pub facts: Vec<Fact>,
}

impl<A> Decision<A> {
    /// Refused, and nothing changes.
    pub fn refuse(refusal: Refusal) -> Self {
        Self { answer: Err(refusal), record: None, facts: Vec::new() }
    }

    /// Answered, and nothing changes.
    pub fn answer(answer: A) -> Self {
        Self { answer: Ok(answer), record: None, facts: Vec::new() }
    }
}
