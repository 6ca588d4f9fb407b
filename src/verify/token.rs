//! What an authentic access token says, in types (RFC 9068, section 2.2). Reads claims strictly;
//! whether they hold now is not decided here.

use std::fmt;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::json;
use super::keys::Issuer;
use super::rejection::Rejection;
use crate::domain::claims::{Members, SID_CLIENT_ID};
use crate::domain::ids::{Audience, ClientId, KeyId, RealmName, Route, Scope, Sid, Subject, TokenId};
use crate::domain::time::Timestamp;
use crate::domain::token::Confirmation;
use crate::domain::token_profile::{SUBJECT_CLAIM, SaidBy};

/// The levels of a payload, itself included: one more than custom claims may have.
const PAYLOAD_DEPTH: usize = 10;
/// The end of the year 9999: beyond it no `NumericDate` means anything.
const LAST_SECOND: i64 = 253_402_300_799;

/// An access token whose signature and claims are right. Whether it is valid *now* is asked at each use.
#[derive(Clone, PartialEq)]
pub struct VerifiedToken {
    /// The realm of the key that signed it.
    pub realm: RealmName,
    /// The key that signed it.
    pub kid: KeyId,
    /// `iss`.
    pub issuer: String,
    /// `jti`.
    pub id: TokenId,
    /// `sub`.
    pub subject: Subject,
    /// `client_id`.
    pub client: ClientId,
    /// `aud`: at least one.
    pub audience: Vec<Audience>,
    /// `scope`, empty if absent.
    pub scope: Vec<Scope>,
    /// `sid`, or the session that `jti` carries where a realm's claims have no `sid`.
    pub session: Option<Sid>,
    /// `sid_client_id`: the session's client, where the token was exchanged and `client` is another.
    pub session_client: Option<ClientId>,
    /// `iat`.
    pub issued: Timestamp,
    /// `exp`.
    pub expires: Timestamp,
    /// `nbf`.
    pub not_before: Option<Timestamp>,
    /// `cnf`.
    pub confirmation: Option<Confirmation>,
    /// Every other claim, in the order of the token.
    pub claims: Members,
    /// No part of it.
    pub worded: Worded,
}

/// What an edge says of a token, worded once and kept for as long as the token is.
#[derive(Clone, Default)]
pub struct Worded(OnceLock<Zeroizing<Vec<u8>>>);

impl Worded {
    /// As it was worded first. Whoever words it says nothing but what the token says.
    pub fn get_or_word(&self, word: impl FnOnce() -> Vec<u8>) -> &[u8] {
        self.0.get_or_init(|| Zeroizing::new(word()))
    }
}

/// Tokens that say the same are the same.
impl PartialEq for Worded {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl VerifiedToken {
    /// Reads the payload of a token that `kid` of `realm` signed, by the profile of its issuer.
    pub(super) fn read(realm: RealmName, kid: KeyId, issuer: &Issuer, payload: &[u8]) -> Result<Self, Rejection> {
        let no_object = Rejection::Malformed("payload is no strict JSON object");
        let mut claims = Payload::new(json::object(payload, PAYLOAD_DEPTH).ok_or(no_object)?);
        let profile = &**issuer.profile();
        // What the realm says, no token may say otherwise.
        if let Some(foreign) = profile.left_out().find(|name| claims.members.contains_key(*name)) {
            return Err(Rejection::InvalidClaim(foreign));
        }
        let id = claims.required("jti", |value| TokenId::parse(value.as_str()?))?;
        let sid = claims.optional("sid", |value| Sid::parse(value.as_str()?).ok())?;
        Ok(Self {
            realm,
            kid,
            issuer: match profile.issuer {
                SaidBy::Token => claims.required("iss", |value| value.as_str().map(str::to_owned))?,
                SaidBy::Realm(()) => issuer.today().to_owned(),
            },
            id,
            subject: claims.subject(&profile.subject_claim)?,
            client: match &profile.client {
                SaidBy::Token => claims.required("client_id", |value| ClientId::parse(value.as_str()?).ok())?,
                SaidBy::Realm(client) => client.clone(),
            },
            audience: match &profile.audience {
                SaidBy::Token => claims.required("aud", audience)?,
                SaidBy::Realm(audience) => vec![audience.clone()],
            },
            scope: claims.optional("scope", scope)?.unwrap_or_default(),
            session: session(&profile.session, &id, sid)?,
            session_client: claims.optional(SID_CLIENT_ID, |value| ClientId::parse(value.as_str()?).ok())?,
            issued: claims.required("iat", numeric_date)?,
            expires: claims.required("exp", numeric_date)?,
            not_before: claims.optional("nbf", numeric_date)?,
            confirmation: claims.optional("cnf", confirmation)?,
            claims: claims.unread(),
            worded: Worded::default(),
        })
    }
}

/// Claims say who somebody is: not for logs.
impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedToken({} of {} by {})", self.id, self.realm, self.kid)
    }
}

struct Payload {
    members: Members,
    /// Not removed one by one, each of which moves all that follow.
    read: Vec<&'static str>,
}

impl Payload {
    fn new(members: Map<String, Value>) -> Self {
        Self { read: Vec::with_capacity(members.len()), members: members.into() }
    }

    /// A renamed one stays among the claims: it is one that only this realm knows.
    fn subject(&mut self, name: &str) -> Result<Subject, Rejection> {
        let read = |value: &Value| Subject::parse(value.as_str()?).ok();
        match name {
            SUBJECT_CLAIM => self.required(SUBJECT_CLAIM, read),
            renamed => self.members.get(renamed).and_then(read).ok_or(Rejection::InvalidClaim(SUBJECT_CLAIM)),
        }
    }

    fn required<T>(&mut self, name: &'static str, read: impl FnOnce(&Value) -> Option<T>) -> Result<T, Rejection> {
        self.optional(name, read)?.ok_or(Rejection::InvalidClaim(name))
    }

    fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Rejection> {
        let Some(value) = self.members.get(name) else { return Ok(None) };
        self.read.push(name);
        read(value).map(Some).ok_or(Rejection::InvalidClaim(name))
    }

    /// In the order of the token, and without the room of those that were read: what is left is kept for long.
    fn unread(mut self) -> Members {
        self.members.retain(|name, _| !self.read.contains(&name.as_str()));
        let mut unread = Map::with_capacity(self.members.len());
        unread.append(&mut self.members);
        unread.into()
    }
}

/// The session that revocation asks about: `sid` names it, or `jti` where the realm's tokens have no `sid`.
fn session(said: &SaidBy, id: &TokenId, sid: Option<Sid>) -> Result<Option<Sid>, Rejection> {
    match (said, id.route, sid) {
        (SaidBy::Token, Route::BySid, Some(sid)) | (SaidBy::Realm(()), Route::Session(sid), None) => Ok(Some(sid)),
        (_, Route::Subject { .. }, None) => Ok(None),
        _ => Err(Rejection::InvalidClaim("sid")),
    }
}

/// RFC 7519, section 4.1.3: one string, or an array of them.
fn audience(value: &Value) -> Option<Vec<Audience>> {
    match value {
        Value::String(one) => Some(vec![Audience::parse(one).ok()?]),
        Value::Array(several) if !several.is_empty() => {
            several.iter().map(|one| Audience::parse(one.as_str()?).ok()).collect()
        }
        _ => None,
    }
}

fn scope(value: &Value) -> Option<Vec<Scope>> {
    value.as_str()?.split(' ').map(|scope| Scope::parse(scope).ok()).collect()
}

/// A whole number of seconds: no fraction, no exponent, no string.
pub(super) fn numeric_date(value: &Value) -> Option<Timestamp> {
    let seconds = value.as_i64()?;
    (0..=LAST_SECOND).contains(&seconds).then(|| Timestamp::from_seconds(seconds))
}

/// Exactly one method, and a known one: a binding that is not understood must not be dropped.
fn confirmation(value: &Value) -> Option<Confirmation> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let (method, thumbprint) = members.iter().next()?;
    let thumbprint = URL_SAFE_NO_PAD.decode(thumbprint.as_str()?).ok()?.try_into().ok()?;
    match method.as_str() {
        "jkt" => Some(Confirmation::JwkThumbprint(thumbprint)),
        "x5t#S256" => Some(Confirmation::CertificateThumbprint(thumbprint)),
        _ => None,
    }
}
