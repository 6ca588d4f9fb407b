//! Records survive being written down.

use serde_json::json;

use crate::domain::claims::Claims;
use crate::domain::device::KnownDevice;
use crate::domain::ids::{Audience, ClientId, DeviceId, KeyNumber, Scope};
use crate::domain::rate_limit::Used;
use crate::domain::session::{AccessStamp, Device, Session};
use crate::domain::subject::Rates;
use crate::domain::token::{Confirmation, SessionSecret};

use super::*;

fn record() -> SubjectRecord {
    let time = Timestamp::from_millis;
    let claims = json!({ "role": "admin", "n": [1, 31.245270191439438, { "deep": true }] });
    let Some(claims) = claims.as_object().cloned() else { panic!() };
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
    let device = Device { id: DeviceId::parse("tv").ok(), user_agent: "TV/1".into(), ..Device::default() };
    let used = time(1_600_000_000_000);
    let known = KnownDevice { device, first_used: used, last_used: used, trusted_until: time(1_800_000_000_000) };
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
        sessions: vec![
            Session { device: Device::default(), confirmation: None, ..session.clone() },
            Session { device: known.device.clone(), ..session.clone() },
            session,
        ],
        devices: vec![known],
        ended: END_REASONS.map(|reason| EndedSession { id: SessionId([9; 16]), reason }).into(),
        rates: Rates {
            refreshes: Used::from_nanos(1_700_000_000_600_000_001),
            logins: Used::from_nanos(1_700_000_000_700_000_000),
        },
        changed: time(1_700_000_000_500),
    }
}

#[test]
fn a_record_survives_being_written_down() {
    assert_eq!(decode(&encode(&record())).expect("own bytes"), record());
}

#[test]
fn what_a_record_was_read_into_is_cleared() {
    fn cleared<T: ZeroizeOnDrop>(_: &T) {}
    let mut written = StoredRecord::decode(&*encode(&record())).expect("a record");
    cleared(&written);
    cleared(&written.sessions[0]);
    let mut session = written.sessions[0].clone();
    assert!(!session.texts().iter().any(|text| text.is_empty()));
    session.zeroize();
    assert!(session.texts().iter().all(|text| text.is_empty()), "{:?}", session.texts());
    written.zeroize();
    assert!(written.subject.is_empty() && written.sessions.is_empty());
}

#[test]
fn a_newer_format_is_refused_and_damage_never_panics() {
    let mut newer = StoredRecord::decode(&*encode(&record())).expect("a record");
    newer.format += 1;
    let newer = newer.encode_to_vec();
    assert!(matches!(decode(&newer), Err(DecodeError::Format(4))));
    let bytes = encode(&record());
    for cut in 0..bytes.len() {
        let _ = decode(&bytes[..cut]);
    }
}
