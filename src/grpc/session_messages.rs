//! The messages of `SessionService`. Knows the authority's words and the proto's, and decides nothing.

use crate::domain::device::Trust;
use crate::domain::ids::Subject;
use crate::domain::live::{LiveDevice, LiveSession};
use crate::domain::session::Place;
use crate::proto::v1;

use super::wire::{device_message, time};

pub(super) fn session(live: &LiveSession, place: Place, subject: &Subject) -> v1::Session {
    let session = &live.session;
    v1::Session {
        session_id: place.sid(session.id).to_string(),
        subject: subject.as_str().to_owned(),
        client_id: session.client.to_string(),
        device: Some(device_message(&session.device)),
        create_time: time(session.created),
        last_refresh_time: time(session.refreshed),
        idle_expire_time: time(session.idle_expires),
        expire_time: time(session.expires),
        trusted: live.trust == Trust::Trusted,
        generation: i64::try_from(session.generation - 1).unwrap_or(i64::MAX),
    }
}

pub(super) fn known_device(live: &LiveDevice) -> v1::KnownDevice {
    let known = &live.device;
    v1::KnownDevice {
        device: Some(device_message(&known.device)),
        trusted: live.trust == Trust::Trusted,
        trust_expire_time: Some(known.trusted_until).filter(|_| live.trust == Trust::Trusted).and_then(time),
        create_time: time(known.first_used),
        last_use_time: time(known.last_used),
        session_count: count(live.sessions),
    }
}

pub(super) fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
