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

const FORMAT: u32 = 1;

/// A record that can't be read.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum DecodeError {
    /// Not protobuf of this shape.
    #[error("not a subject record: {0}")]
    Damaged(#[from] prost::DecodeError),
    /// Written by a newer version.
    #[error("subject record of format {0}, this version reads up to {FORMAT}")]
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
struct RecordV1 {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(string, tag = "2")]
    subject: String,
    #[prost(uint32, tag = "3")]
    epoch: u32,
    #[prost(int64, tag = "4")]
    keep_until: i64,
    #[prost(int64, tag = "5")]
    changed: i64,
    #[prost(message, repeated, tag = "6")]
    sessions: Vec<SessionV1>,
    #[prost(message, repeated, tag = "7")]
    ended: Vec<EndedV1>,
    #[prost(message, repeated, tag = "8")]
    requests: Vec<RequestV1>,
    #[prost(uint32, tag = "9")]
    ended_below: u32,
}

/// Times but `created` are milliseconds after `created`: shorter as varints.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct SessionV1 {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    secret: Vec<u8>,
    #[prost(string, tag = "3")]
    client: String,
    #[prost(string, repeated, tag = "4")]
    audience: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    scope: Vec<String>,
    #[prost(string, tag = "6")]
    claims_json: String,
    #[prost(message, optional, tag = "7")]
    device: Option<DeviceV1>,
    #[prost(message, optional, tag = "8")]
    confirmation: Option<ConfirmationV1>,
    #[prost(uint64, tag = "9")]
    generation: u64,
    #[prost(int64, tag = "10")]
    created: i64,
    #[prost(int64, tag = "11")]
    refreshed: i64,
    #[prost(int64, tag = "12")]
    idle_expires: i64,
    #[prost(int64, tag = "13")]
    expires: i64,
    #[prost(int64, tag = "14")]
    access_until: i64,
    #[prost(uint32, tag = "15")]
    access_epoch: u32,
    #[prost(message, optional, tag = "16")]
    access: Option<AccessV1>,
    #[prost(string, optional, tag = "17")]
    next_claims_json: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct AccessV1 {
    #[prost(bytes = "vec", tag = "1")]
    random: Vec<u8>,
    #[prost(int64, tag = "2")]
    issued: i64,
    #[prost(int64, tag = "3")]
    expires: i64,
    #[prost(uint32, tag = "4")]
    key: u32,
    /// Present where the token was narrowed.
    #[prost(message, optional, tag = "5")]
    scope: Option<NamesV1>,
    #[prost(message, optional, tag = "6")]
    audience: Option<NamesV1>,
    #[prost(uint32, tag = "7")]
    epoch: u32,
}

#[derive(Clone, PartialEq, Message)]
struct NamesV1 {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct DeviceV1 {
    #[prost(string, tag = "1")]
    id: String,
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
struct ConfirmationV1 {
    #[prost(bytes = "vec", tag = "1")]
    jwk_thumbprint: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    certificate_thumbprint: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestV1 {
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
struct EndedV1 {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    reason: u32,
}

/// Secrets and personal data.
impl std::fmt::Debug for RecordV1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordV1(..)")
    }
}

impl std::fmt::Debug for SessionV1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionV1(..)")
    }
}

/// The record as bytes.
pub(super) fn encode(record: &SubjectRecord) -> Vec<u8> {
    RecordV1 {
        format: FORMAT,
        subject: record.subject.as_ref().map(|subject| subject.as_str().to_owned()).unwrap_or_default(),
        epoch: record.epoch,
        ended_below: record.ended_below,
        keep_until: record.keep_until.millis(),
        changed: record.changed.millis(),
        sessions: record.sessions.iter().map(encode_session).collect(),
        ended: record.ended.iter().map(encode_ended).collect(),
        requests: record.requests.iter().map(encode_request).collect(),
    }
    .encode_to_vec()
}

/// The record that `encode` wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<SubjectRecord, DecodeError> {
    let record = RecordV1::decode(bytes)?;
    if record.format != FORMAT {
        return Err(DecodeError::Format(record.format));
    }
    Ok(SubjectRecord {
        subject: if record.subject.is_empty() { None } else { Some(Subject::parse(&record.subject)?) },
        epoch: record.epoch,
        ended_below: record.ended_below,
        keep_until: Timestamp::from_millis(record.keep_until),
        changed: Timestamp::from_millis(record.changed),
        sessions: record.sessions.into_iter().map(decode_session).collect::<Result<_, _>>()?,
        ended: record.ended.iter().map(decode_ended).collect::<Result<_, _>>()?,
        requests: record.requests.iter().map(decode_request).collect::<Result<_, _>>()?,
    })
}

fn encode_session(session: &Session) -> SessionV1 {
    let created = session.created;
    let after = |time: Timestamp| time.millis() - created.millis();
    SessionV1 {
        id: session.id.0.to_vec(),
        secret: session.secret.expose().to_vec(),
        client: session.client.as_str().to_owned(),
        audience: session.audience.iter().map(ToString::to_string).collect(),
        scope: session.scope.iter().map(ToString::to_string).collect(),
        claims_json: encode_claims(&session.claims),
        next_claims_json: session.next_claims.as_ref().map(encode_claims),
        device: (session.device != Device::default()).then(|| encode_device(&session.device)),
        confirmation: session.confirmation.as_ref().map(encode_confirmation),
        generation: session.generation,
        created: created.millis(),
        refreshed: after(session.refreshed),
        idle_expires: after(session.idle_expires),
        expires: after(session.expires),
        access_until: after(session.access_until),
        access_epoch: session.access_epoch,
        access: Some(AccessV1 {
            random: session.access.random.to_vec(),
            issued: after(session.access.issued),
            expires: after(session.access.expires),
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

fn names<T: ToString>(names: &[T]) -> NamesV1 {
    NamesV1 { names: names.iter().map(ToString::to_string).collect() }
}

fn decode_session(session: SessionV1) -> Result<Session, DecodeError> {
    let at = |after: i64| Timestamp::from_millis(session.created + after);
    let access = session.access.ok_or(DecodeError::Field("access"))?;
    Ok(Session {
        id: SessionId(bytes(&session.id, "id")?),
        secret: SessionSecret::new(bytes(&session.secret, "secret")?),
        client: ClientId::parse(&session.client)?,
        audience: parse_all(&session.audience, Audience::parse)?,
        scope: parse_all(&session.scope, Scope::parse)?,
        claims: decode_claims(&session.claims_json)?,
        next_claims: session.next_claims_json.as_deref().map(decode_claims).transpose()?,
        device: session.device.map(decode_device).transpose()?.unwrap_or_default(),
        confirmation: session.confirmation.as_ref().map(decode_confirmation).transpose()?,
        generation: session.generation,
        created: at(0),
        refreshed: at(session.refreshed),
        idle_expires: at(session.idle_expires),
        expires: at(session.expires),
        access_until: at(session.access_until),
        access_epoch: session.access_epoch,
        access: AccessStamp {
            random: bytes(&access.random, "access.random")?,
            issued: at(access.issued),
            expires: at(access.expires),
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

fn encode_device(device: &Device) -> DeviceV1 {
    DeviceV1 {
        id: device.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        platform: device.platform.clone(),
        name: device.name.clone(),
        user_agent: device.user_agent.clone(),
        ip_address: device.ip_address.clone(),
    }
}

fn decode_device(device: DeviceV1) -> Result<Device, DecodeError> {
    Ok(Device {
        id: if device.id.is_empty() { None } else { Some(DeviceId::parse(&device.id)?) },
        platform: device.platform,
        name: device.name,
        user_agent: device.user_agent,
        ip_address: device.ip_address,
    })
}

fn encode_confirmation(confirmation: &Confirmation) -> ConfirmationV1 {
    match confirmation {
        Confirmation::JwkThumbprint(thumbprint) => {
            ConfirmationV1 { jwk_thumbprint: thumbprint.to_vec(), certificate_thumbprint: Vec::new() }
        }
        Confirmation::CertificateThumbprint(thumbprint) => {
            ConfirmationV1 { jwk_thumbprint: Vec::new(), certificate_thumbprint: thumbprint.to_vec() }
        }
    }
}

fn decode_confirmation(confirmation: &ConfirmationV1) -> Result<Confirmation, DecodeError> {
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

fn encode_ended(ended: &EndedSession) -> EndedV1 {
    let reason = END_REASONS.iter().position(|reason| *reason == ended.reason).unwrap_or_default();
    EndedV1 { id: ended.id.0.to_vec(), reason: reason as u32 }
}

fn decode_ended(ended: &EndedV1) -> Result<EndedSession, DecodeError> {
    let reason = END_REASONS.get(ended.reason as usize).copied().unwrap_or(EndReason::Revoked);
    Ok(EndedSession { id: SessionId(bytes(&ended.id, "ended.id")?), reason })
}

fn encode_request(request: &NamedRequest) -> RequestV1 {
    RequestV1 {
        name: request.id.name.to_vec(),
        content: request.id.content.to_vec(),
        session: request.session.0.to_vec(),
        time: request.time.millis(),
    }
}

fn decode_request(request: &RequestV1) -> Result<NamedRequest, DecodeError> {
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
        let newer = RecordV1 { format: FORMAT + 1, ..RecordV1::default() }.encode_to_vec();
        assert!(matches!(decode(&newer), Err(DecodeError::Format(2))));
        let bytes = encode(&record());
        for cut in 0..bytes.len() {
            let _ = decode(&bytes[..cut]);
        }
    }
}
