//! How a session is written down.

use prost::Message;
use serde_json::Map;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::domain::claims::Claims;
use crate::domain::device::KnownDevice;
use crate::domain::ids::{Audience, ClientId, InvalidName, KeyNumber, Scope, SessionId};
use crate::domain::session::{AccessStamp, Session};
use crate::domain::subject::SubjectRecord;
use crate::domain::time::Timestamp;
use crate::domain::token::SessionSecret;

use super::device::{
    StoredConfirmation, StoredDevice, decode_confirmation, decode_device, encode_confirmation, encode_device,
};
use super::{DecodeError, bytes, moment};

/// Times are milliseconds from another that they usually equal or follow: what is zero is not written,
/// and what is small is short. Millions of these are kept in memory.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct StoredSession {
    /// Its id, its secret, and the random part of its access token's `jti`.
    #[prost(bytes = "vec", tag = "1")]
    random: Vec<u8>,
    #[prost(string, tag = "3")]
    client: String,
    #[prost(string, repeated, tag = "4")]
    audience: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    scope: Vec<String>,
    #[prost(string, tag = "6")]
    claims_json: String,
    #[prost(message, optional, tag = "7")]
    device: Option<StoredDevice>,
    #[prost(message, optional, tag = "8")]
    confirmation: Option<StoredConfirmation>,
    /// The generation less the first.
    #[prost(uint64, tag = "9")]
    rotations: u64,
    /// Before the record's `changed`.
    #[prost(int64, tag = "10")]
    created: i64,
    /// After `created`.
    #[prost(int64, tag = "11")]
    refreshed: i64,
    /// Before `expires`.
    #[prost(int64, tag = "12")]
    idle_expires: i64,
    /// After `created`.
    #[prost(int64, tag = "13")]
    expires: i64,
    /// After `refreshed`.
    #[prost(int64, tag = "14")]
    access_until: i64,
    #[prost(uint32, tag = "15")]
    access_epoch: u32,
    #[prost(message, optional, tag = "16")]
    access: Option<StoredAccess>,
    #[prost(string, optional, tag = "17")]
    next_claims_json: Option<String>,
    #[prost(string, tag = "18")]
    device_id: String,
    /// Which of the record's devices it is, from 1, where there is nothing else to say of it.
    #[prost(uint32, tag = "19")]
    known_device: u32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredAccess {
    /// After `refreshed`.
    #[prost(int64, tag = "2")]
    issued: i64,
    /// Before `access_until`.
    #[prost(int64, tag = "3")]
    expires: i64,
    #[prost(uint32, tag = "4")]
    key: u32,
    /// Present where the token was narrowed.
    #[prost(message, optional, tag = "5")]
    scope: Option<StoredNames>,
    #[prost(message, optional, tag = "6")]
    audience: Option<StoredNames>,
    #[prost(uint32, tag = "7")]
    epoch: u32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredNames {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
}

impl Zeroize for StoredSession {
    fn zeroize(&mut self) {
        self.random.zeroize();
        self.claims_json.zeroize();
        self.next_claims_json.zeroize();
    }
}

impl Drop for StoredSession {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for StoredSession {}

/// Secrets and personal data.
impl std::fmt::Debug for StoredSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredSession(..)")
    }
}

pub(super) fn encode_session(session: &Session, record: &SubjectRecord) -> StoredSession {
    let changed = record.changed;
    let known = record.devices.iter().position(|known| known.device == session.device);
    let unknown = known.is_none().then_some(&session.device);
    let Session { created, refreshed, expires, access_until, .. } = *session;
    let between = |later: Timestamp, earlier: Timestamp| later.millis() - earlier.millis();
    StoredSession {
        random: [session.id.0, *session.secret.expose(), session.access.random].concat(),
        client: session.client.as_str().to_owned(),
        audience: session.audience.iter().map(ToString::to_string).collect(),
        scope: session.scope.iter().map(ToString::to_string).collect(),
        claims_json: encode_claims(&session.claims),
        next_claims_json: session.next_claims.as_ref().map(encode_claims),
        known_device: known.and_then(|index| u32::try_from(index + 1).ok()).unwrap_or_default(),
        device_id: unknown.and_then(|device| device.id.as_ref()).map(ToString::to_string).unwrap_or_default(),
        device: unknown.and_then(encode_device),
        confirmation: session.confirmation.as_ref().map(encode_confirmation),
        rotations: session.generation.saturating_sub(1),
        created: between(changed, created),
        refreshed: between(refreshed, created),
        idle_expires: between(expires, session.idle_expires),
        expires: between(expires, created),
        access_until: between(access_until, refreshed),
        access_epoch: session.access_epoch,
        access: Some(StoredAccess {
            issued: between(session.access.issued, refreshed),
            expires: between(access_until, session.access.expires),
            epoch: session.access.epoch,
            key: session.access.key.0,
            scope: session.access.scope.as_ref().map(|scope| names(scope)),
            audience: session.access.audience.as_ref().map(|audience| names(audience)),
        }),
    }
}

fn encode_claims(claims: &Claims) -> String {
    let members = claims.members();
    if members.is_empty() { String::new() } else { serde_json::to_string(members).unwrap_or_default() }
}

fn names<T: ToString>(names: &[T]) -> StoredNames {
    StoredNames { names: names.iter().map(ToString::to_string).collect() }
}

pub(super) fn decode_session(
    mut session: StoredSession,
    devices: &[KnownDevice],
    changed: Timestamp,
) -> Result<Session, DecodeError> {
    let after = |time: Timestamp, millis: i64| moment(time.millis().saturating_add(millis));
    let before = |time: Timestamp, millis: i64| moment(time.millis().saturating_sub(millis));
    let created = before(changed, session.created);
    let (refreshed, expires) = (after(created, session.refreshed), after(created, session.expires));
    let access_until = after(refreshed, session.access_until);
    let access = session.access.take().ok_or(DecodeError::Field("access"))?;
    let random: [u8; 48] = bytes(&session.random, "random")?;
    let [id, secret, random] = *random.as_chunks::<16>().0 else { return Err(DecodeError::Field("random")) };
    Ok(Session {
        id: SessionId(id),
        secret: SessionSecret::new(secret),
        client: ClientId::parse(&session.client)?,
        audience: parse_all(&session.audience, Audience::parse)?,
        scope: parse_all(&session.scope, Scope::parse)?,
        claims: decode_claims(&session.claims_json)?,
        next_claims: session.next_claims_json.as_deref().map(decode_claims).transpose()?,
        device: match session.known_device.checked_sub(1) {
            None => decode_device(&session.device_id, session.device.take().unwrap_or_default())?,
            Some(index) => {
                let known = devices.get(index as usize).ok_or(DecodeError::Field("known_device"))?;
                known.device.clone()
            }
        },
        confirmation: session.confirmation.as_ref().map(decode_confirmation).transpose()?,
        generation: session.rotations.saturating_add(1),
        refreshed,
        created,
        idle_expires: before(expires, session.idle_expires),
        expires,
        access_until,
        access_epoch: session.access_epoch,
        access: AccessStamp {
            random,
            issued: after(refreshed, access.issued),
            expires: before(access_until, access.expires),
            epoch: access.epoch,
            key: KeyNumber(access.key),
            scope: access.scope.map(|scope| parse_all(&scope.names, Scope::parse)).transpose()?,
            audience: access.audience.map(|audience| parse_all(&audience.names, Audience::parse)).transpose()?,
        },
    })
}

fn parse_all<T>(names: &[String], parse: fn(&str) -> Result<T, InvalidName>) -> Result<Vec<T>, InvalidName> {
    names.iter().map(|name| parse(name)).collect()
}

fn decode_claims(json: &str) -> Result<Claims, DecodeError> {
    if json.is_empty() {
        return Ok(Claims::default());
    }
    let members: Map<_, _> = serde_json::from_str(json).map_err(|_| DecodeError::Field("claims"))?;
    Claims::new(members).map_err(|_| DecodeError::Field("claims"))
}

#[cfg(test)]
impl StoredSession {
    /// What of it says who somebody is, or opens his session.
    pub(super) fn texts(&self) -> [&[u8]; 3] {
        [&self.random, self.claims_json.as_bytes(), self.next_claims_json.as_deref().unwrap_or_default().as_bytes()]
    }
}
