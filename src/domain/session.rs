//! A session: one login of one subject, continued by refresh tokens until it expires or is ended.

use std::fmt;

use super::claims::Claims;
use super::ids::{Audience, ClientId, DeviceId, KeyNumber, Route, Scope, SessionId, Sid, Subject, SubjectKey, TokenId};
use super::policy::RealmPolicy;
use super::time::Timestamp;
use super::token::{AccessToken, Confirmation, RefreshToken, SessionSecret};

/// What the client told about the device that it runs on. Shown to the user, never trusted.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Chosen by the client, stable, unique for the subject.
    pub id: Option<DeviceId>,
    /// Such as `ios`.
    pub platform: String,
    /// Such as `Ann's phone`.
    pub name: String,
    /// As in HTTP.
    pub user_agent: String,
    /// As text.
    pub ip_address: String,
}

/// Personal data.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Device(..)")
    }
}

impl Device {
    /// What stays the same while it is the same device, beside its id.
    pub(super) fn fingerprint(&self) -> (&str, &str) {
        (&self.platform, &self.user_agent)
    }

    /// About how many bytes it takes in its record.
    pub(super) fn weight(&self) -> usize {
        let texts = [&self.platform, &self.name, &self.user_agent, &self.ip_address];
        texts.into_iter().map(String::len).sum::<usize>() + self.id.as_ref().map_or(0, |id| id.as_str().len())
    }
}

/// The newest access token of a session, as far as it can't be told from the session itself. With it
/// the same token can be made again for a client that never received it.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessStamp {
    /// The random part of its `jti`.
    pub random: [u8; 16],
    /// When, to the millisecond.
    pub issued: Timestamp,
    /// Its `exp`.
    pub expires: Timestamp,
    /// The session's epoch then: to repeat a token must not carry it into a later one.
    pub epoch: u32,
    /// The key that signs it.
    pub key: KeyNumber,
    /// Its scope, where it was asked to be narrower than the session's.
    pub scope: Option<Vec<Scope>>,
    /// Its audience, where it was asked to be narrower than the session's.
    pub audience: Option<Vec<Audience>>,
}

/// A live session.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// 128 random bits.
    pub id: SessionId,
    /// In each of its refresh tokens.
    pub secret: SessionSecret,
    /// Who may refresh it.
    pub client: ClientId,
    /// What its access tokens may be for.
    pub audience: Vec<Audience>,
    /// What they may do.
    pub scope: Vec<Scope>,
    /// What they say of the subject.
    pub claims: Claims,
    /// What they will say from the next refresh on, where that was changed.
    pub next_claims: Option<Claims>,
    /// Where it runs.
    pub device: Device,
    /// The key that its tokens are bound to.
    pub confirmation: Option<Confirmation>,
    /// How often its refresh token was replaced, from 1.
    pub generation: u64,
    /// When that generation was reached.
    pub refreshed: Timestamp,
    /// When it was opened.
    pub created: Timestamp,
    /// When it ends unless it is active. Never later than `expires`.
    pub idle_expires: Timestamp,
    /// When it ends. Set once.
    pub expires: Timestamp,
    /// The latest `exp` that any of its access tokens has.
    pub access_until: Timestamp,
    /// Access tokens of an earlier epoch are ended.
    pub access_epoch: u32,
    /// Its newest access token.
    pub access: AccessStamp,
}

impl Session {
    /// When it ends if nothing happens.
    pub fn ends(&self) -> Timestamp {
        self.idle_expires.min(self.expires)
    }

    /// About how many bytes it takes in its record.
    pub(super) fn weight(&self) -> usize {
        const FIXED: usize = 160;
        FIXED
            + self.device.weight()
            + self.client.as_str().len()
            // Twice, since the newest access token may have been narrowed to nearly all of them.
            + 2 * self.audience.iter().map(|audience| audience.as_str().len() + 2).sum::<usize>()
            + 2 * self.scope.iter().map(|scope| scope.as_str().len() + 2).sum::<usize>()
            + self.claims.bytes()
            + self.next_claims.as_ref().map_or(0, Claims::bytes)
    }

    /// Activity at `now`: the idle expiry slides forward.
    pub(super) fn touch(&mut self, now: Timestamp, policy: &RealmPolicy) {
        self.idle_expires = self.idle_expires.max(policy.idle_expiry(now, self.expires));
    }

    /// The stamp of an access token issued now; none outlives its session.
    pub(super) fn stamp(&mut self, stamp: AccessStamp) {
        self.access_until = self.access_until.max(stamp.expires);
        self.access = stamp;
    }

    /// The newest access token in full.
    pub(super) fn access_token(&self, place: Place, policy: &RealmPolicy, subject: Subject) -> AccessToken {
        let stamp = &self.access;
        let sid = place.sid(self.id);
        let route = if policy.profile.session.is_claim() { Route::BySid } else { Route::Session(sid) };
        AccessToken {
            id: TokenId { epoch: stamp.epoch, origin: self.created, random: stamp.random, route },
            realm: policy.realm.clone(),
            profile: policy.profile.clone(),
            key: stamp.key,
            subject,
            client: self.client.clone(),
            audience: stamp.audience.as_ref().unwrap_or(&self.audience).clone(),
            scope: stamp.scope.as_ref().unwrap_or(&self.scope).clone(),
            claims: self.claims.clone(),
            confirmation: self.confirmation.clone(),
            actor: None,
            session: Some(sid),
            session_client: None,
            issued: stamp.issued.floor_to_second(),
            expires: stamp.expires,
        }
    }

    /// The refresh token of the current generation.
    pub(super) fn refresh_token(&self, place: Place) -> RefreshToken {
        RefreshToken {
            session: place.sid(self.id),
            secret: self.secret.clone(),
            generation: self.generation,
            expires: self.expires,
        }
    }
}

/// Where a subject's record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which pepper made the subject key.
    pub pepper_id: u8,
    /// The subject key.
    pub subject: SubjectKey,
}

impl Place {
    /// The `sid` of a session in this record.
    pub fn sid(self, session: SessionId) -> Sid {
        Sid { pepper_id: self.pepper_id, subject: self.subject, session }
    }
}

impl From<Sid> for Place {
    fn from(sid: Sid) -> Self {
        Self { pepper_id: sid.pepper_id, subject: sid.subject }
    }
}
