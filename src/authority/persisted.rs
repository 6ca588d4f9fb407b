//! How a subject's record is written down: protobuf with a format number, apart from the domain's
//! types. Knows neither seals nor stores.

use std::mem;

use prost::Message;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::domain::fact::EndReason;
use crate::domain::ids::{InvalidName, SessionId, Subject};
use crate::domain::subject::{EndedSession, NamedRequest, RequestId, SubjectRecord};
use crate::domain::time::Timestamp;

use device::{StoredKnownDevice, decode_known, encode_known};
use rates::{StoredRates, decode_rates, encode_rates};
use session::{StoredSession, decode_session, encode_session};

mod device;
mod rates;
mod session;
#[cfg(test)]
mod tests;

pub(crate) const FORMAT: u32 = 3;

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
struct StoredRecord {
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
    sessions: Vec<StoredSession>,
    #[prost(message, repeated, tag = "7")]
    ended: Vec<StoredEnded>,
    #[prost(message, repeated, tag = "8")]
    requests: Vec<StoredRequest>,
    #[prost(uint32, tag = "9")]
    ended_below: u32,
    #[prost(message, repeated, tag = "10")]
    devices: Vec<StoredKnownDevice>,
    #[prost(message, optional, tag = "20")]
    rates: Option<StoredRates>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRequest {
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
struct StoredEnded {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    reason: u32,
}

impl Zeroize for StoredRecord {
    fn zeroize(&mut self) {
        self.subject.zeroize();
        self.sessions.zeroize();
    }
}

impl Drop for StoredRecord {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for StoredRecord {}

/// Secrets and personal data.
impl std::fmt::Debug for StoredRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredRecord(..)")
    }
}

/// The record as bytes.
pub(crate) fn encode(record: &SubjectRecord) -> Vec<u8> {
    StoredRecord {
        format: FORMAT,
        subject: record.subject.as_ref().map(|subject| subject.as_str().to_owned()).unwrap_or_default(),
        epoch: record.changed.seconds() - i64::from(record.epoch),
        ended_below: record.ended_below,
        keep_until: record.keep_until.millis(),
        changed: record.changed.millis(),
        sessions: record.sessions.iter().map(|session| encode_session(session, record)).collect(),
        devices: record.devices.iter().map(|device| encode_known(device, record.changed)).collect(),
        ended: record.ended.iter().map(encode_ended).collect(),
        requests: record.requests.iter().map(encode_request).collect(),
        rates: encode_rates(record.rates, record.changed),
    }
    .encode_to_vec()
}

/// The record that `encode` wrote.
pub(crate) fn decode(bytes: &[u8]) -> Result<SubjectRecord, DecodeError> {
    let mut record = StoredRecord::decode(bytes)?;
    if record.format != FORMAT {
        return Err(DecodeError::Format(record.format));
    }
    let changed = moment(record.changed);
    let devices = mem::take(&mut record.devices).into_iter().map(|device| decode_known(device, changed));
    let devices: Vec<_> = devices.collect::<Result<_, _>>()?;
    let sessions =
        mem::take(&mut record.sessions).into_iter().map(|session| decode_session(session, &devices, changed));
    Ok(SubjectRecord {
        subject: if record.subject.is_empty() { None } else { Some(Subject::parse(&record.subject)?) },
        epoch: u32::try_from(changed.seconds().saturating_sub(record.epoch))
            .map_err(|_| DecodeError::Field("epoch"))?,
        ended_below: record.ended_below,
        keep_until: Timestamp::from_millis(record.keep_until),
        changed,
        sessions: sessions.collect::<Result<_, _>>()?,
        devices,
        ended: record.ended.iter().map(decode_ended).collect::<Result<_, _>>()?,
        requests: record.requests.iter().map(decode_request).collect::<Result<_, _>>()?,
        rates: decode_rates(record.rates.take().unwrap_or_default(), changed),
    })
}

/// A time within what sums and nanoseconds can hold, some centuries off: what lies beyond is damage, and
/// must not overflow when it is written down again.
fn moment(millis: i64) -> Timestamp {
    const FARTHEST: i64 = 9_000_000_000_000;
    Timestamp::from_millis(millis.clamp(-FARTHEST, FARTHEST))
}

const END_REASONS: [EndReason; 8] = [
    EndReason::Revoked,
    EndReason::Replay,
    EndReason::Reauthenticated,
    EndReason::Evicted,
    EndReason::CutOff,
    EndReason::Expired,
    EndReason::Idle,
    EndReason::DeviceForgotten,
];

fn encode_ended(ended: &EndedSession) -> StoredEnded {
    let reason = END_REASONS.iter().position(|reason| *reason == ended.reason).unwrap_or_default();
    StoredEnded { id: ended.id.0.to_vec(), reason: reason as u32 }
}

fn decode_ended(ended: &StoredEnded) -> Result<EndedSession, DecodeError> {
    let reason = END_REASONS.get(ended.reason as usize).copied().unwrap_or(EndReason::Revoked);
    Ok(EndedSession { id: SessionId(bytes(&ended.id, "ended.id")?), reason })
}

fn encode_request(request: &NamedRequest) -> StoredRequest {
    StoredRequest {
        name: request.id.name.to_vec(),
        content: request.id.content.to_vec(),
        session: request.session.0.to_vec(),
        time: request.time.millis(),
    }
}

fn decode_request(request: &StoredRequest) -> Result<NamedRequest, DecodeError> {
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
