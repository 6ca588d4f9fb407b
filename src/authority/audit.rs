//! What happened, as log events of the target `audit`: one line a fact or refusal. Session ids are
//! written as ids, subjects and tokens never.

use std::fmt::Write as _;
use std::sync::Arc;

use tracing::{debug, info, warn};

use crate::domain::fact::Fact;
use crate::domain::ids::{ClientId, KeyId, KeyNumber, RealmName, SessionId, Sid};
use crate::domain::refusal::Refusal;
use crate::domain::revocation::RevocationScope;
use crate::domain::rotate_keys::KeyFact;
use crate::signing::key::SigningKey;

use super::subjects::Committed;

/// Logs a committed transition, or a refusal.
pub(super) fn committed<A>(realm: &RealmName, committed: &Committed<A>) {
    for fact in &committed.facts {
        log(realm, fact);
    }
    if let Err(refusal) = &committed.answer {
        refused(realm, refusal);
    }
}

/// Logs a refusal.
pub(super) fn refused(realm: &RealmName, refusal: &Refusal) {
    info!(target: "audit", realm = realm.as_str(), event = "refused", reason = refusal.name());
}

/// Logs an exchange, which no record keeps.
pub(super) fn exchanged(realm: &RealmName, client: &ClientId, session: Option<Sid>) {
    let session = session.map(|sid| hex(sid.session)).unwrap_or_default();
    info!(target: "audit", realm = realm.as_str(), event = "token_exchanged", client = client.as_str(), session);
}

/// Logs a cut-off.
pub(super) fn cut_off(scope: &RevocationScope) {
    match scope {
        RevocationScope::Client(realm, client, _) => {
            info!(target: "audit", realm = realm.as_str(), event = "client_revoked", client = client.as_str());
        }
        RevocationScope::Realm(realm, _) => info!(target: "audit", realm = realm.as_str(), event = "realm_revoked"),
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
    let (realm, key) = (realm.as_str(), key(number));
    let kid = key.map(|key| key.kid().as_str());
    let algorithm = key.map(|key| key.algorithm().name());
    info!(target: "audit", realm, event, kid, algorithm, signs_from = turn);
}

/// Logs that a key is to be revoked, and why.
pub(super) fn key_revocation_asked(realm: &RealmName, kid: &KeyId, reason: &str) {
    info!(target: "audit", realm = realm.as_str(), event = "key_revocation_asked", kid = kid.as_str(), ?reason);
}

fn log(realm: &RealmName, fact: &Fact) {
    let realm = realm.as_str();
    match fact {
        Fact::SessionOpened(session) => {
            info!(target: "audit", realm, event = "session_opened", session = hex(*session));
        }
        Fact::SessionlessIssued => info!(target: "audit", realm, event = "sessionless_token_issued"),
        Fact::Refreshed(session, generation) => {
            info!(target: "audit", realm, event = "refreshed", session = hex(*session), generation);
        }
        Fact::RefreshRepeated(session, generation) => {
            info!(target: "audit", realm, event = "refresh_repeated", session = hex(*session), generation);
        }
        Fact::HealedForward { session, stored, presented } => {
            warn!(target: "audit", realm, event = "healed_forward", session = hex(*session), stored, presented);
        }
        // Once a minute and session: for who looks into one.
        Fact::Touched(session) => {
            debug!(target: "audit", realm, event = "session_touched", session = hex(*session));
        }
        Fact::SessionEnded { session, reason, .. } => {
            info!(target: "audit", realm, event = "session_ended", session = hex(*session), reason = reason.name());
        }
        Fact::ClaimsUpdated(session) => {
            info!(target: "audit", realm, event = "claims_updated", session = hex(*session));
        }
        Fact::AccessEnded { session, .. } => {
            info!(target: "audit", realm, event = "access_tokens_ended", session = hex(*session));
        }
        Fact::DeviceRegistered(device) => {
            info!(target: "audit", realm, event = "device_registered", device = device.as_str());
        }
        Fact::DeviceChanged(device) => {
            warn!(target: "audit", realm, event = "device_changed", device = device.as_str());
        }
        Fact::DeviceTrusted(device, until) => {
            let (device, until) = (device.as_str(), until.millis());
            info!(target: "audit", realm, event = "device_trusted", device, until);
        }
        Fact::DeviceForgotten(device) => {
            info!(target: "audit", realm, event = "device_forgotten", device = device.as_str());
        }
        Fact::SubjectErased => info!(target: "audit", realm, event = "subject_erased"),
        Fact::TokenRevoked { .. } => info!(target: "audit", realm, event = "token_revoked"),
        Fact::RevocationPutBack(_) => info!(target: "audit", realm, event = "revocation_put_back"),
        Fact::EpochRaised { epoch, .. } => info!(target: "audit", realm, event = "epoch_raised", epoch),
    }
}

fn hex(session: SessionId) -> String {
    session.0.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
