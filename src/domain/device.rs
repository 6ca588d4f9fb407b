//! What a subject's record remembers of its devices, and what a realm makes of them. Recognition is by the
//! id that the client chose together with what it says of itself: whoever copies the id alone is noticed.

use std::time::Duration;

use super::fact::Fact;
use super::ids::DeviceId;
use super::refusal::Refusal;
use super::session::Device;
use super::time::Timestamp;

/// The most devices that a record remembers.
pub const MAX_DEVICES: usize = 32;
/// About how many bytes of a record they may take.
pub(super) const MAX_DEVICE_BYTES: usize = 16 << 10;
/// A device without session and trust is forgotten this long after its last use.
pub const DEVICE_REMEMBERED: Duration = Duration::from_secs(90 * 86_400);

/// A device that the subject has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDevice {
    /// As it was reported last. Always with an id.
    pub device: Device,
    /// When the subject first used it.
    pub first_used: Timestamp,
    /// When it was last used for a login or a refresh.
    pub last_used: Timestamp,
    /// Until when it is trusted; in the past or `ZERO`: it is not.
    pub trusted_until: Timestamp,
}

/// Whether a device is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Somebody trusted it, and that has not lapsed.
    Trusted,
    /// It is not, or it is no known device.
    Untrusted,
}

/// What happens when a known id comes with another platform or user agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// It is written down.
    Note,
    /// The device is no longer trusted, too.
    Untrust,
    /// The login or refresh is refused, and what is known of the device stays.
    Refuse,
}

/// What a device that is not trusted may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untrusted {
    /// Log in and refresh, with the lifetimes for such a device.
    Allow,
    /// Nothing, but it is known from then on, so that it can be trusted.
    Refuse,
}

/// What a refresh that reports no device is to a session that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silent {
    /// Taken for the device that it was.
    Same,
    /// Refused: whoever copied a refresh token has to copy the device's fingerprint too.
    Refuse,
}

/// A realm's policy for devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePolicy {
    /// How long a device is trusted once somebody said so.
    pub trust_lifetime: Duration,
    /// What a change of its fingerprint does.
    pub on_change: OnChange,
    /// What a refresh is that reports none.
    pub silent: Silent,
    /// What one that is not trusted may do.
    pub untrusted: Untrusted,
    /// The longest access lifetime on such a device.
    pub untrusted_access_lifetime: Option<Duration>,
    /// The longest lifetime of a session opened on such a device.
    pub untrusted_session_lifetime: Option<Duration>,
    /// How long a device is remembered at least, though the subject has nothing else.
    pub remember: Duration,
}

/// A device that was refused is remembered this long at least, so that somebody can trust it.
const REFUSED_REMEMBERED: Duration = Duration::from_secs(3_600);

impl Default for DevicePolicy {
    fn default() -> Self {
        Self {
            trust_lifetime: Duration::from_secs(30 * 86_400),
            on_change: OnChange::Note,
            silent: Silent::Same,
            untrusted: Untrusted::Allow,
            untrusted_access_lifetime: None,
            untrusted_session_lifetime: None,
            remember: Duration::ZERO,
        }
    }
}

impl DevicePolicy {
    /// Whether a device of this standing may log in or refresh.
    pub(super) fn admit(&self, trust: Trust) -> Result<Trust, Refusal> {
        match (self.untrusted, trust) {
            (Untrusted::Refuse, Trust::Untrusted) => Err(Refusal::DeviceNotTrusted),
            _ => Ok(trust),
        }
    }

    /// The same of one that was not reported.
    pub(super) fn admit_silent(&self, trust: Trust) -> Result<Trust, Refusal> {
        match self.silent {
            Silent::Same => self.admit(trust),
            Silent::Refuse => Err(Refusal::DeviceNotTrusted),
        }
    }

    /// The lifetime of an access token, where a trusted device gets one of `usual`.
    pub(super) fn access_lifetime(&self, usual: Duration, trust: Trust) -> Duration {
        shortened(usual, self.untrusted_access_lifetime, trust)
    }

    /// The same of a session.
    pub(super) fn session_lifetime(&self, usual: Duration, trust: Trust) -> Duration {
        shortened(usual, self.untrusted_session_lifetime, trust)
    }

    pub(super) fn remember_until(&self, now: Timestamp) -> Timestamp {
        match self.untrusted {
            Untrusted::Allow => now + self.remember,
            Untrusted::Refuse => now + self.remember.max(REFUSED_REMEMBERED),
        }
    }
}

fn shortened(usual: Duration, untrusted: Option<Duration>, trust: Trust) -> Duration {
    match trust {
        Trust::Trusted => usual,
        Trust::Untrusted => untrusted.map_or(usual, |untrusted| usual.min(untrusted)),
    }
}

impl KnownDevice {
    /// One that is used for the first time, with an id.
    pub(super) fn new(device: Device, now: Timestamp) -> Self {
        Self { device, first_used: now, last_used: now, trusted_until: Timestamp::ZERO }
    }

    /// Whether it has this id.
    pub fn is(&self, id: &DeviceId) -> bool {
        self.device.id.as_ref() == Some(id)
    }

    /// Whether it is trusted now.
    pub fn trust(&self, now: Timestamp) -> Trust {
        if now < self.trusted_until { Trust::Trusted } else { Trust::Untrusted }
    }

    /// About how many bytes it takes in its record.
    pub(super) fn weight(&self) -> usize {
        const FIXED: usize = 40;
        FIXED + self.device.weight()
    }

    /// Takes in what a client says of it now.
    pub(super) fn report(
        &mut self,
        reported: &Device,
        now: Timestamp,
        on_change: OnChange,
        facts: &mut Vec<Fact>,
    ) -> Result<(), Refusal> {
        let another = reported.id.is_some() && reported.id != self.device.id;
        if another || self.device.fingerprint() != reported.fingerprint() {
            facts.extend(self.device.id.clone().map(Fact::DeviceChanged));
            match on_change {
                OnChange::Note => {}
                OnChange::Untrust => self.trusted_until = Timestamp::ZERO,
                OnChange::Refuse => return Err(Refusal::DeviceNotTrusted),
            }
        }
        let id = self.device.id.take();
        self.device = Device { id, ..reported.clone() };
        self.last_used = now;
        Ok(())
    }
}
