//! What happened. From facts alone follow revocations, audit events and counters.

use std::time::Duration;

use super::ids::{DeviceId, SessionId, SubjectKey};
use super::revocation::{RevocationEntry, RevocationScope};
use super::time::Timestamp;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Somebody asked for it.
    Revoked,
    /// A consumed refresh token came back.
    Replay,
    /// The same client on the same device logged in again.
    Reauthenticated,
    /// A newer login needed its place.
    Evicted,
    /// Its client or its realm was revoked.
    CutOff,
    /// Its absolute lifetime was over.
    Expired,
    /// It was not used for too long.
    Idle,
    /// Its device was forgotten.
    DeviceForgotten,
}

impl EndReason {
    /// As logs say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Replay => "replay",
            Self::Reauthenticated => "reauthenticated",
            Self::Evicted => "evicted",
            Self::CutOff => "cut_off",
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::DeviceForgotten => "device_forgotten",
        }
    }
}

/// Something that a transition did or noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A session was opened.
    SessionOpened(SessionId),
    /// A token without a session was issued.
    SessionlessIssued,
    /// A refresh token was replaced; the generation reached.
    Refreshed(SessionId, u64),
    /// The same successor was answered again.
    RefreshRepeated(SessionId, u64),
    /// A token ahead of the record was accepted: the store had lost a write.
    HealedForward {
        /// The session.
        session: SessionId,
        /// The generation that the record had.
        stored: u64,
        /// The generation that the token proved.
        presented: u64,
    },
    /// A session's token was used, and its idle expiry slid.
    Touched(SessionId),
    /// A session ended.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// Why.
        reason: EndReason,
        /// When the last of its access tokens expires; the time of its end if they all have.
        access_until: Timestamp,
    },
    /// A session's claims were changed.
    ClaimsUpdated(SessionId),
    /// A session's access tokens of earlier epochs were ended; it lives on.
    AccessEnded {
        /// The session.
        session: SessionId,
        /// Its new epoch.
        epoch: u32,
        /// When the last of them expires.
        access_until: Timestamp,
    },
    /// A device was used for the first time.
    DeviceRegistered(DeviceId),
    /// A known device came with another platform or user agent.
    DeviceChanged(DeviceId),
    /// A device is trusted until then.
    DeviceTrusted(DeviceId, Timestamp),
    /// A device was forgotten, and its sessions have ended.
    DeviceForgotten(DeviceId),
    /// Everything known of the subject was erased.
    SubjectErased,
    /// A token without a session was revoked.
    TokenRevoked {
        /// The random part of its `jti`.
        random: [u8; 16],
        /// Its `exp`.
        expires: Timestamp,
    },
    /// An entry that the store had lost is in force again.
    RevocationPutBack(RevocationEntry),
    /// The subject's sessionless tokens of earlier epochs are ended.
    EpochRaised {
        /// The new epoch.
        epoch: u32,
        /// When the last of them expires.
        access_until: Timestamp,
    },
}

/// How much longer an entry lives than the last token that it ends: clocks differ.
pub const ENTRY_SLACK: Duration = Duration::from_secs(60);

impl Fact {
    /// The revocation that follows. The only place where one is made, so that no way of ending a
    /// session can forget it (Keycloak #51127).
    pub fn revocation(&self, subject: SubjectKey) -> Option<RevocationEntry> {
        let (scope, until) = match *self {
            Self::RevocationPutBack(ref entry) => return Some(entry.clone()),
            // Its access tokens ended before it did: none outlives its session.
            Self::SessionEnded { reason: EndReason::Expired | EndReason::Idle, .. } => return None,
            Self::SessionEnded { session, access_until, .. } => (RevocationScope::Session(session), access_until),
            Self::TokenRevoked { random, expires } => (RevocationScope::Token(random), expires),
            Self::AccessEnded { session, epoch, access_until } => {
                (RevocationScope::SessionEpoch(session, epoch), access_until)
            }
            Self::EpochRaised { epoch, access_until } => (RevocationScope::SubjectEpoch(subject, epoch), access_until),
            Self::SessionOpened(_)
            | Self::SessionlessIssued
            | Self::Refreshed(..)
            | Self::RefreshRepeated(..)
            | Self::HealedForward { .. }
            | Self::Touched(_)
            | Self::ClaimsUpdated(_)
            | Self::DeviceRegistered(_)
            | Self::DeviceChanged(_)
            | Self::DeviceTrusted(..)
            | Self::DeviceForgotten(_)
            | Self::SubjectErased => return None,
        };
        Some(RevocationEntry { scope, until: until + ENTRY_SLACK })
    }
}
