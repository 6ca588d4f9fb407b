//! What happened, as log events of the target `audit`: one line a fact or refusal, and in whose name. Session
//! ids are written as ids, those of devices as digests, subjects and tokens never.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use tracing::{debug, info, warn};

use crate::domain::fact::Fact;
use crate::domain::ids::{ClientId, DeviceId, KeyId, KeyNumber, RealmName, SessionId, Sid};
use crate::domain::refusal::Refusal;
use crate::domain::revocation::RevocationScope;
use crate::domain::rotate_keys::KeyFact;
use crate::signing::key::SigningKey;

use super::attribution::By;
use super::subjects::Committed;

/// One line: of which realm, in whose name, what.
macro_rules! line {
    ($level:ident, $realm:expr, $by:expr, $($what:tt)+) => {
        $level!(target: "audit", realm = $realm.as_str(), by = $by.name(), $($what)+)
    };
}

/// Logs a committed transition, or a refusal, of one who waited for others.
pub(super) fn committed<A>(realm: &RealmName, by: &By, committed: &Committed<A>) {
    for fact in &committed.facts {
        log(realm, by, fact);
    }
    if let Err(refusal) = &committed.answer {
        line!(info, realm, by, event = "refused", reason = refusal.name());
    }
}

/// Logs a refusal.
pub(super) fn refused(realm: &RealmName, refusal: &Refusal) {
    line!(info, realm, By::current(), event = "refused", reason = refusal.name());
}

/// Logs what became of a one-time code. Whose it is stays unsaid.
pub(super) fn code(realm: &RealmName, event: &'static str) {
    line!(info, realm, By::current(), event);
}

/// Logs an exchange, which no record keeps.
pub(super) fn exchanged(realm: &RealmName, client: &ClientId, session: Option<Sid>) {
    let session = session.map(|sid| hex(sid.session)).unwrap_or_default();
    line!(info, realm, By::current(), event = "token_exchanged", client = client.as_str(), session);
}

/// Logs a cut-off.
pub(super) fn cut_off(scope: &RevocationScope) {
    match scope {
        RevocationScope::Client(realm, client, _) => {
            line!(info, realm, By::current(), event = "client_revoked", client = client.as_str());
        }
        RevocationScope::Realm(realm, _) => line!(info, realm, By::current(), event = "realm_revoked"),
        _ => {}
    }
}

/// Logs a step of a key's life.
pub(super) fn key<'a>(realm: &RealmName, fact: KeyFact, key: impl Fn(KeyNumber) -> Option<&'a Arc<SigningKey>>) {
    let (event, number, turn) = match fact {
        KeyFact::Prepared(number) => ("key_prepared", number, None),
        KeyFact::Scheduled(number, turn) => ("key_scheduled", number, Some(turn.millis())),
        KeyFact::Postponed(number) => ("key_postponed", number, None),
        KeyFact::Retired(number) => ("key_retired", number, None),
        KeyFact::Revoked(number) => ("key_revoked", number, None),
        KeyFact::Removed(number) => ("key_removed", number, None),
    };
    let key = key(number);
    let kid = key.map(|key| key.kid().as_str());
    let algorithm = key.map(|key| key.algorithm().name());
    line!(info, realm, By::current(), event, kid, algorithm, signs_from = turn);
}

/// Logs that a key is to be revoked, and why.
pub(super) fn key_revocation_asked(realm: &RealmName, kid: Option<&KeyId>, reason: &str) {
    let kid = kid.map(KeyId::as_str);
    line!(info, realm, By::current(), event = "key_revocation_asked", kid, ?reason);
}

/// Logs that a session is to be ended, or all of a subject, client or realm; what follows from it stands in
/// lines of its own.
pub(super) fn revocation_asked(realm: &RealmName, session: Option<Sid>, reason: &str) {
    let session = session.map(|sid| hex(sid.session));
    line!(info, realm, By::current(), event = "revocation_asked", session, ?reason);
}

fn log(realm: &RealmName, by: &By, fact: &Fact) {
    match fact {
        Fact::SessionOpened(session) => {
            line!(info, realm, by, event = "session_opened", session = hex(*session));
        }
        Fact::SessionlessIssued => line!(info, realm, by, event = "sessionless_token_issued"),
        Fact::Refreshed(session, generation) => {
            line!(info, realm, by, event = "refreshed", session = hex(*session), generation);
        }
        Fact::RefreshRepeated(session, generation) => {
            line!(info, realm, by, event = "refresh_repeated", session = hex(*session), generation);
        }
        Fact::HealedForward { session, stored, presented } => {
            line!(warn, realm, by, event = "healed_forward", session = hex(*session), stored, presented);
        }
        // Once a minute and session: for who looks into one.
        Fact::Touched(session) => {
            line!(debug, realm, by, event = "session_touched", session = hex(*session));
        }
        Fact::SessionEnded { session, reason, .. } => {
            line!(info, realm, by, event = "session_ended", session = hex(*session), reason = reason.name());
        }
        Fact::ClaimsUpdated(session) => {
            line!(info, realm, by, event = "claims_updated", session = hex(*session));
        }
        Fact::AccessEnded { session, .. } => {
            line!(info, realm, by, event = "access_tokens_ended", session = hex(*session));
        }
        Fact::DeviceRegistered(device) => {
            line!(info, realm, by, event = "device_registered", device = digest_of(device));
        }
        Fact::DeviceChanged(device) => {
            line!(warn, realm, by, event = "device_changed", device = digest_of(device));
        }
        Fact::DeviceTrusted(device, until) => {
            let (device, until) = (digest_of(device), until.millis());
            line!(info, realm, by, event = "device_trusted", device, until);
        }
        Fact::DeviceForgotten(device) => {
            line!(info, realm, by, event = "device_forgotten", device = digest_of(device));
        }
        Fact::SubjectErased => line!(info, realm, by, event = "subject_erased"),
        Fact::TokenRevoked { .. } => line!(info, realm, by, event = "token_revoked"),
        Fact::RevocationPutBack(_) => line!(info, realm, by, event = "revocation_put_back"),
        Fact::EpochRaised { epoch, .. } => line!(info, realm, by, event = "epoch_raised", epoch),
    }
}

pub(super) fn hex(session: SessionId) -> String {
    in_hex(&session.0)
}

/// Clients choose the id, and write names into it: enough to find the lines of one that is known.
fn digest_of(device: &DeviceId) -> String {
    in_hex(&digest(&SHA256, device.as_str().as_bytes()).as_ref()[..8])
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
