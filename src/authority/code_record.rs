//! How the record of a recipient's one-time codes is written down: protobuf with a format number. Knows
//! neither seals nor stores.

use prost::Message;

use crate::domain::one_time_code::{CodeRecord, LiveCode};
use crate::domain::rate_limit::Used;
use crate::domain::subject::RequestId;
use crate::domain::time::Timestamp;

use super::error::Error;

const FORMAT: u32 = 1;

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredCode {
    #[prost(uint32, tag = "1")]
    format: u32,
    /// Empty: there is no code.
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
    #[prost(int64, tag = "3")]
    expires: i64,
    /// Name and content; empty: unused.
    #[prost(bytes = "vec", tag = "4")]
    used_by: Vec<u8>,
    #[prost(uint32, tag = "5")]
    failures: u32,
    #[prost(int64, tag = "6")]
    failures_until: i64,
    /// In nanoseconds since the Unix epoch.
    #[prost(int64, tag = "7")]
    requests: i64,
    #[prost(uint32, tag = "8")]
    failures_in_a_row: u32,
    #[prost(int64, tag = "9")]
    in_a_row_until: i64,
}

/// The record as bytes.
pub(super) fn encode(record: &CodeRecord) -> Vec<u8> {
    let code = record.code.as_ref();
    let used_by = code.and_then(|code| code.used_by);
    StoredCode {
        format: FORMAT,
        digest: code.map(|code| code.digest.to_vec()).unwrap_or_default(),
        expires: code.map_or(0, |code| code.expires.millis()),
        used_by: used_by.map(|request| [request.name, request.content].concat()).unwrap_or_default(),
        failures: record.failures.into(),
        failures_until: record.failures_until.millis(),
        requests: record.requests.to_nanos(),
        failures_in_a_row: record.failures_in_a_row.into(),
        in_a_row_until: record.in_a_row_until.millis(),
    }
    .encode_to_vec()
}

/// The record that `encode` wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<CodeRecord, Error> {
    let stored = StoredCode::decode(bytes).map_err(Error::internal)?;
    if stored.format != FORMAT {
        let message = format!("code record of format {}, this version reads {FORMAT}", stored.format);
        return Err(Error::internal(message));
    }
    let used_by = match stored.used_by.as_chunks::<16>() {
        ([], []) => None,
        (&[name, content], []) => Some(RequestId { name, content }),
        _ => return Err(damaged()),
    };
    let code = match stored.digest.as_slice() {
        [] => None,
        digest => {
            let digest = digest.try_into().map_err(|_| damaged())?;
            Some(LiveCode { digest, expires: Timestamp::from_millis(stored.expires), used_by })
        }
    };
    Ok(CodeRecord {
        code,
        failures: u8::try_from(stored.failures).map_err(|_| damaged())?,
        failures_until: Timestamp::from_millis(stored.failures_until),
        requests: Used::from_nanos(stored.requests),
        failures_in_a_row: u8::try_from(stored.failures_in_a_row).map_err(|_| damaged())?,
        in_a_row_until: Timestamp::from_millis(stored.in_a_row_until),
    })
}

fn damaged() -> Error {
    Error::internal("a code record is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_being_written_down_and_damage_never_panics() {
        let time = Timestamp::from_millis;
        let code = LiveCode {
            digest: [1; 32],
            expires: time(1_800_000_000_001),
            used_by: Some(RequestId { name: [2; 16], content: [3; 16] }),
        };
        let record = CodeRecord {
            code: Some(code.clone()),
            failures: 2,
            failures_until: time(1_800_000_000_002),
            requests: Used::from_nanos(1_800_000_000_000_000_003),
            failures_in_a_row: 99,
            in_a_row_until: time(1_800_000_000_004),
        };
        let unused = CodeRecord { code: Some(LiveCode { used_by: None, ..code }), ..CodeRecord::default() };
        for record in [record, unused, CodeRecord::default()] {
            let bytes = encode(&record);
            assert_eq!(decode(&bytes).expect("own bytes"), record);
            for cut in 0..bytes.len() {
                let _ = decode(&bytes[..cut]);
            }
        }
    }
}
