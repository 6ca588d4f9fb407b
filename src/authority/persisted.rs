//! How a subject's record is written down: protobuf with a format number, apart from the domain's
//! types. Knows neither seals nor stores.

use prost::Message;

use crate::domain::claims::Claims;
use crate::domain::fact::EndReason;
use crate::domain::ids::{Audience, ClientId, DeviceId, InvalidName, KeyNumber, Scope, SessionId, Subject};
use crate::domain::session::{AccessStamp, Device, Session};
use crate::domain::subject::{EndedSession, NamedRequest, RequestId, SubjectRecord};
use crate::domain::time::Timestamp;
use crate::domain::token::{Confirmation, SessionSecret};

pub(crate) const FORMAT: u32 = 2;

/// A record that can't be read.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Not protobuf of this shape.
    #[error("not a subject record: {0}")]
    Damaged(#[from] prost::DecodeError),
    /// Written by another version.
    #[error("subject record of format {0}, this version reads {FORMAT}")]
    Format(u32),
    /// A field holds what its type can't.
    #[error("subject record: {0}")]
    Name(#[from] InvalidName),
    /// A field holds what its type can't.
    #[error("subject record: {0} is not valid")]
    Field(&'static str),
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct RecordV2 {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(string, tag = "2")]
    subject: String,
    /// Seconds that it is behind `changed`.
    #[prost(sint64, tag = "3")]
    epoch: i64,
    #[prost(int64, tag = "4")]
    keep_until: i64,
    #[prost(int64, tag = "5")]
    changed: i64,
    #[prost(message, repeated, tag = "6")]
    sessions: Vec<SessionV2>,
    #[prost(message, repeated, tag = "7")]
    ended: Vec<EndedV2>,
    #[prost(message, repeated, tag = "8")]
    requests: Vec<RequestV2>,
    #[prost(uint32, tag = "9")]
    ended_below: u32,
}

/// Times are milliseconds from another that they usually equal or follow: what is zero is not written,
/// and what is small is short. Millions of these are kept in memory.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct SessionV2 {
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
    device: Option<DeviceV2>,
    #[prost(message, optional, tag = "8")]
    confirmation: Option<ConfirmationV2>,
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
    access: Option<AccessV2>,
    #[prost(string, optional, tag = "17")]
    next_claims_json: Option<String>,
    #[prost(string, tag = "18")]
    device_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct AccessV2 {
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
    scope: Option<NamesV2>,
    #[prost(message, optional, tag = "6")]
    audience: Option<NamesV2>,
    #[prost(uint32, tag = "7")]
    epoch: u32,
}

#[derive(Clone, PartialEq, Message)]
struct NamesV2 {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct DeviceV2 {
    #[prost(string, tag = "2")]
    platform: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    user_agent: String,
    #[prost(string, tag = "5")]
    ip_address: String,
}

#[derive(Clone, PartialEq, Message)]
struct ConfirmationV2 {
    #[prost(bytes = "vec", tag = "1")]
    jwk_thumbprint: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    certificate_thumbprint: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestV2 {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    session: Vec<u8>,
    #[prost(int64, tag = "4")]
    time: i64,
}

#[derive(Clone, PartialEq, Message)]
struct EndedV2 {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    reason: u32,
}

/// Secrets and personal data.
impl std::fmt::Debug for RecordV2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordV2(..)")
    }
}

impl std::fmt::Debug for SessionV2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionV2(..)")
    }
}

/// The record as bytes.
pub(crate) fn encode(record: &SubjectRecord) -> Vec<u8> {
    RecordV2 {
        format: FORMAT,
        subject: record.subject.as_ref().map(|subject| subject.as_str().to_owned()).unwrap_or_default(),
        epoch: record.changed.seconds() - i64::from(record.epoch),
        ended_below: record.ended_below,
        keep_until: record.keep_until.millis(),
        changed: record.changed.millis(),
        sessions: record.sessions.iter().map(|session| encode_session(session, record.changed)).collect(),
        ended: record.ended.iter().map(encode_ended).collect(),
        requests: record.requests.iter().map(encode_request).collect(),
    }
    .encode_to_vec()
}

/// The record that `encode` wrote.
pub(crate) fn decode(bytes: &[u8]) -> Result<SubjectRecord, DecodeError> {
    let record = RecordV2::decode(bytes)?;
    if record.format != FORMAT {
        return Err(DecodeError::Format(record.format));
    }
    let changed = Timestamp::from_millis(record.changed);
    let sessions = record.sessions.into_iter().map(|session| decode_session(session, changed));
    Ok(SubjectRecord {
        subject: if record.subject.is_empty() { None } else { Some(Subject::parse(&record.subject)?) },
        epoch: u32::try_from(changed.seconds().saturating_sub(record.epoch))
            .map_err(|_| DecodeError::Field("epoch"))?,
        ended_below: record.ended_below,
        keep_until: Timestamp::from_millis(record.keep_until),
        changed,
        sessions: sessions.collect::<Result<_, _>>()?,
        ended: record.ended.iter().map(decode_ended).collect::<Result<_, _>>()?,
        requests: record.requests.iter().map(decode_request).collect::<Result<_, _>>()?,
    })
}

fn encode_session(session: &Session, changed: Timestamp) -> SessionV2 {
    let Session { created, refreshed, expires, access_until, .. } = *session;
    let between = |later: Timestamp, earlier: Timestamp| later.millis() - earlier.millis();
    SessionV2 {
        random: [session.id.0, *session.secret.expose(), session.access.random].concat(),
        client: session.client.as_str().to_owned(),
        audience: session.audience.iter().map(ToString::to_string).collect(),
        scope: session.scope.iter().map(ToString::to_string).collect(),
        claims_json: encode_claims(&session.claims),
        next_claims_json: session.next_claims.as_ref().map(encode_claims),
        device_id: session.device.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        device: encode_device(&session.device),
        confirmation: session.confirmation.as_ref().map(encode_confirmation),
        rotations: session.generation.saturating_sub(1),
        created: between(changed, created),
        refreshed: between(refreshed, created),
        idle_expires: between(expires, session.idle_expires),
        expires: between(expires, created),
        access_until: between(access_until, refreshed),
        access_epoch: session.access_epoch,
        access: Some(AccessV2 {
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
    if members.is_empty() { String::new() } else { serde_json::Value::Object(members.clone()).to_string() }
}

fn names<T: ToString>(names: &[T]) -> NamesV2 {
    NamesV2 { names: names.iter().map(ToString::to_string).collect() }
}

fn decode_session(session: SessionV2, changed: Timestamp) -> Result<Session, DecodeError> {
    let after = |time: Timestamp, millis: i64| Timestamp::from_millis(time.millis().saturating_add(millis));
    let before = |time: Timestamp, millis: i64| Timestamp::from_millis(time.millis().saturating_sub(millis));
    let created = before(changed, session.created);
    let (refreshed, expires) = (after(created, session.refreshed), after(created, session.expires));
    let access_until = after(refreshed, session.access_until);
    let access = session.access.ok_or(DecodeError::Field("access"))?;
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
        device: decode_device(&session.device_id, session.device.unwrap_or_default())?,
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
    let members = serde_json::from_str(json).map_err(|_| DecodeError::Field("claims"))?;
    Claims::new(members).map_err(|_| DecodeError::Field("claims"))
}

/// All but its id; `None` where that says nothing.
fn encode_device(device: &Device) -> Option<DeviceV2> {
    let told = DeviceV2 {
        platform: device.platform.clone(),
        name: device.name.clone(),
        user_agent: device.user_agent.clone(),
        ip_address: device.ip_address.clone(),
    };
    (told != DeviceV2::default()).then_some(told)
}

fn decode_device(id: &str, device: DeviceV2) -> Result<Device, DecodeError> {
    Ok(Device {
        id: if id.is_empty() { None } else { Some(DeviceId::parse(id)?) },
        platform: device.platform,
        name: device.name,
        user_agent: device.user_agent,
        ip_address: device.ip_address,
    })
}

fn encode_confirmation(confirmation: &Confirmation) -> ConfirmationV2 {
    match confirmation {
        Confirmation::JwkThumbprint(thumbprint) => {
            ConfirmationV2 { jwk_thumbprint: thumbprint.to_vec(), certificate_thumbprint: Vec::new() }
        }
        Confirmation::CertificateThumbprint(thumbprint) => {
            ConfirmationV2 { jwk_thumbprint: Vec::new(), certificate_thumbprint: thumbprint.to_vec() }
        }
    }
}

fn decode_confirmation(confirmation: &ConfirmationV2) -> Result<Confirmation, DecodeError> {
    if confirmation.certificate_thumbprint.is_empty() {
        Ok(Confirmation::JwkThumbprint(bytes(&confirmation.jwk_thumbprint, "confirmation")?))
    } else {
        Ok(Confirmation::CertificateThumbprint(bytes(&confirmation.certificate_thumbprint, "confirmation")?))
    }
}

const END_REASONS: [EndReason; 7] = [
    EndReason::Revoked,
    EndReason::Replay,
    EndReason::Reauthenticated,
    EndReason::Evicted,
    EndReason::CutOff,
    EndReason::Expired,
    EndReason::Idle,
];

fn encode_ended(ended: &EndedSession) -> EndedV2 {
    let reason = END_REASONS.iter().position(|reason| *reason == ended.reason).unwrap_or_default();
    EndedV2 { id: ended.id.0.to_vec(), reason: reason as u32 }
}

fn decode_ended(ended: &EndedV2) -> Result<EndedSession, DecodeError> {
    let reason = END_REASONS.get(ended.reason as usize).copied().unwrap_or(EndReason::Revoked);
    Ok(EndedSession { id: SessionId(bytes(&ended.id, "ended.id")?), reason })
}

fn encode_request(request: &NamedRequest) -> RequestV2 {
    RequestV2 {
        name: request.id.name.to_vec(),
        content: request.id.content.to_vec(),
        session: request.session.0.to_vec(),
        time: request.time.millis(),
    }
}

fn decode_request(request: &RequestV2) -> Result<NamedRequest, DecodeError> {
    Ok(NamedRequest {
        id: RequestId {
            name: bytes(&request.name, "request.name")?,
            content: bytes(&request.content, "request.content")?,
        },
        session: SessionId(bytes(&request.session, "request.session")?),
        time: Timestamp::from_millis(request.time),
    })
}

fn bytes<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Field(field))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> SubjectRecord {
        let time = Timestamp::from_millis;
        let Some(claims) = json!({ "role": "admin", "n": [1, { "deep": true }] }).as_object().cloned() else {
            panic!()
        };
        let session = Session {
            id: SessionId([1; 16]),
            secret: SessionSecret::new([2; 16]),
            client: ClientId::parse("app").expect("a client"),
            audience: vec![Audience::parse("api").expect("an audience")],
            scope: vec![Scope::parse("read").expect("a scope"), Scope::parse("write").expect("a scope")],
            claims: Claims::new(claims.clone()).expect("claims"),
            next_claims: Claims::new(claims).ok(),
            device: Device { id: DeviceId::parse("phone").ok(), platform: "ios".into(), ..Device::default() },
            confirmation: Some(Confirmation::CertificateThumbprint([3; 32])),
            generation: 7,
            refreshed: time(1_700_000_000_500),
            created: time(1_700_000_000_000),
            idle_expires: time(1_700_000_100_000),
            expires: time(1_700_000_200_000),
            access_until: time(1_700_000_050_000),
            access_epoch: 2,
            access: AccessStamp {
                random: [4; 16],
                issued: time(1_700_000_000_400),
                expires: time(1_700_000_050_000),
                epoch: 1,
                key: KeyNumber(3),
                scope: Some(Vec::new()),
                audience: None,
            },
        };
        SubjectRecord {
            subject: Subject::parse("ann").ok(),
            requests: vec![NamedRequest {
                id: RequestId { name: [5; 16], content: [6; 16] },
                session: SessionId([1; 16]),
                time: time(8),
            }],
            epoch: 5,
            ended_below: 4,
            keep_until: time(9),
            sessions: vec![session.clone(), Session { device: Device::default(), confirmation: None, ..session }],
            ended: END_REASONS.map(|reason| EndedSession { id: SessionId([9; 16]), reason }).into(),
            changed: time(1_700_000_000_500),
        }
    }

    #[test]
    fn a_record_survives_being_written_down() {
        assert_eq!(decode(&encode(&record())).expect("own bytes"), record());
    }

    #[test]
    fn a_newer_format_is_refused_and_damage_never_panics() {
        let newer = RecordV2 { format: FORMAT + 1, ..RecordV2::default() }.encode_to_vec();
        assert!(matches!(decode(&newer), Err(DecodeError::Format(3))));
        let bytes = encode(&record());
        for cut in 0..bytes.len() {
            let _ = decode(&bytes[..cut]);
        }
    }
}
