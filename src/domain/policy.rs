//! What a realm allows: every point on which the systems that use the authority differ.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::algorithm::Algorithm;
use super::claims::Claims;
use super::device::{DevicePolicy, Trust};
use super::ids::{Audience, ClientId, CookieName, RealmName, Scope};
use super::key_ring::KeyPolicy;
use super::messages::Messages;
use super::one_time_code::CodePolicy;
use super::own_claims::OwnClaims;
use super::rate_limit::RateLimits;
use super::refusal::Refusal;
use super::time::Timestamp;
use super::token_profile::TokenProfile;

/// A set of allowed values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed<T> {
    /// Every value of the type.
    Any,
    /// These and no others.
    Only(BTreeSet<T>),
}

impl<T: Ord> Allowed<T> {
    /// Whether the value is in the set.
    pub fn contains(&self, value: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(values) => values.contains(value),
        }
    }

    /// Whether each value of the other is in the set.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Only(_), Self::Any) => false,
            (Self::Only(own), Self::Only(other)) => own.is_superset(other),
        }
    }
}

/// What happens to a login when the subject has as many sessions as the policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtLimit {
    /// The login is refused.
    Refuse,
    /// The session that was opened first ends.
    EvictOldest,
    /// The session that was refreshed longest ago ends.
    EvictIdlest,
}

/// Whether a refresh replaces the refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// At each use (RFC 9700, section 4.14.2).
    EachUse,
    /// Never: the token stays valid until the session ends.
    Off,
}

/// Whether the predecessor of a refresh token is answered after the leeway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateRecovery {
    /// Never: it is a replay.
    No,
    /// To whoever proves the key that the session is bound to: a thief of the token can't.
    WithBoundKey,
}

/// Which of a policy's lifetimes a session gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// `session_lifetime`.
    Standard,
    /// `remember_me_lifetime`.
    Remembered,
}

/// A realm's policy. Durations are wall-clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealmPolicy {
    /// The realm.
    pub realm: RealmName,
    /// Signs access tokens.
    pub algorithm: Algorithm,
    /// How the keys rotate.
    pub keys: KeyPolicy,
    /// How long an access token is valid.
    pub access_lifetime: Duration,
    /// How long a session can live, however often it is refreshed.
    pub session_lifetime: Duration,
    /// The same where the user asked to be remembered.
    pub remember_me_lifetime: Duration,
    /// How long a session lives without activity; `None`: as long as it lives at all.
    pub idle_timeout: Option<Duration>,
    /// How long the immediate predecessor of a refresh token is answered with the same successor.
    pub reuse_leeway: Duration,
    /// Whether a predecessor is answered after that.
    pub late_recovery: LateRecovery,
    /// Whether a refresh replaces the refresh token.
    pub rotation: Rotation,
    /// The most live sessions that a subject can have.
    pub max_sessions: usize,
    /// What happens at that limit.
    pub at_limit: AtLimit,
    /// What its users' devices may do.
    pub devices: DevicePolicy,
    /// How often a subject, a caller and an address may do what.
    pub rate_limits: RateLimits,
    /// Logins by one-time codes; `None`: the realm sends none.
    pub codes: Option<CodePolicy>,
    /// Audiences that a token may be for.
    pub audiences: Allowed<Audience>,
    /// The audience of a token for which none was asked.
    pub default_audience: Audience,
    /// Scopes that may be granted.
    pub scopes: Allowed<Scope>,
    /// Which registered claims its access tokens have.
    pub profile: Arc<TokenProfile>,
    /// Which others.
    pub claims: OwnClaims,
    /// What callers are told instead of reasons.
    pub messages: Messages,
    /// The client of a session for which none was named.
    pub default_client: Option<ClientId>,
    /// The cookie in which a browser carries an access token.
    pub access_cookie: CookieName,
}

/// With this prefix, a browser keeps a cookie to its host, to TLS, and from being set by any other.
pub const COOKIE_PREFIX: &str = "__Host-";
const ACCESS_COOKIE: &str = "__Host-access_token";

/// The longest access lifetime that any policy may have: tokens from before a policy was tightened
/// are ended all the same.
pub const MAX_ACCESS_LIFETIME: Duration = Duration::from_secs(86_400);
/// The longest session lifetime that any policy may have.
pub const MAX_SESSION_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// The longest that any call takes. Shorter than the default leeway by far: a call that was cut off
/// is repeated, and is then no replay.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// How long two presentations of one token may be under way at the same time: a deadline, and the
/// clock error that is tolerated.
pub const RACE_WINDOW: Duration = Duration::from_secs(REQUEST_DEADLINE.as_secs() + 2);

impl RealmPolicy {
    /// The policy of a realm that says nothing else.
    pub fn permissive(realm: RealmName, default_audience: Audience, default_client: Option<ClientId>) -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            realm,
            algorithm: Algorithm::Rs256,
            keys: KeyPolicy::default(),
            access_lifetime: Duration::from_secs(900),
            session_lifetime: 7 * DAY,
            remember_me_lifetime: 30 * DAY,
            idle_timeout: None,
            reuse_leeway: Duration::from_secs(10),
            late_recovery: LateRecovery::No,
            rotation: Rotation::EachUse,
            max_sessions: 100,
            at_limit: AtLimit::EvictIdlest,
            devices: DevicePolicy::default(),
            rate_limits: RateLimits::default(),
            codes: None,
            audiences: Allowed::Any,
            default_audience,
            scopes: Allowed::Any,
            profile: Arc::default(),
            claims: OwnClaims::Any,
            messages: Messages::default(),
            default_client,
            access_cookie: CookieName::parse(ACCESS_COOKIE).expect("a constant that is a name"),
        }
    }

    /// Every algorithm that the realm has keys of, the one that signs first.
    pub fn key_algorithms(&self) -> impl Iterator<Item = Algorithm> {
        let further = self.keys.algorithms.iter().filter(|algorithm| **algorithm != self.algorithm);
        std::iter::once(self.algorithm).chain(further.copied())
    }

    /// How long a session of this kind can live that is opened on such a device.
    pub fn session_lifetime(&self, lifetime: Lifetime, trust: Trust) -> Duration {
        let usual = match lifetime {
            Lifetime::Standard => self.session_lifetime,
            Lifetime::Remembered => self.remember_me_lifetime,
        };
        self.devices.session_lifetime(usual, trust)
    }

    /// How long an access token is valid on such a device.
    pub fn access_lifetime(&self, trust: Trust) -> Duration {
        self.devices.access_lifetime(self.access_lifetime, trust)
    }

    /// When a session that is active at `now` becomes idle: never past its absolute expiry.
    pub fn idle_expiry(&self, now: Timestamp, expires: Timestamp) -> Timestamp {
        self.idle_timeout.map_or(expires, |timeout| expires.min(now + timeout))
    }

    /// Refuses the first audience or scope that the realm doesn't allow.
    pub fn check(&self, audience: &[Audience], scope: &[Scope]) -> Result<(), Refusal> {
        if let Some(foreign) = audience.iter().find(|audience| !self.audiences.contains(audience)) {
            return Err(Refusal::AudienceNotAllowed(foreign.clone()));
        }
        match scope.iter().find(|scope| !self.scopes.contains(scope)) {
            Some(foreign) => Err(Refusal::ScopeNotGranted(foreign.clone())),
            None => Ok(()),
        }
    }

    /// Refuses claims that the realm's tokens may not have, or not so.
    pub fn check_claims(&self, claims: &Claims) -> Result<(), Refusal> {
        let subject = &self.profile.subject_claim;
        if claims.members().contains_key(subject) {
            let problem = "is the claim that names the subject in this realm".to_owned();
            return Err(Refusal::ClaimNotAllowed { field: format!("claims.{subject}"), problem });
        }
        self.claims.check(claims.members())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_covers_what_has_nothing_else() {
        let only = |values: &[u8]| Allowed::Only(values.iter().copied().collect());
        for (own, other, covers) in [
            (Allowed::Any, Allowed::Any, true),
            (Allowed::Any, only(&[1]), true),
            (only(&[1]), Allowed::Any, false),
            (only(&[1, 2]), only(&[1]), true),
            (only(&[1]), only(&[1, 2]), false),
            (only(&[1]), only(&[]), true),
        ] {
            assert_eq!(own.covers(&other), covers, "{own:?} {other:?}");
        }
    }
}
