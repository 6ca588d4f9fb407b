//! Limits on callers and addresses, and how often any limit refused. Kept in this instance's memory: each
//! of several servers admits as much. Limits on subjects are the rules', in the record.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use quick_cache::sync::Cache;

use crate::domain::ids::RealmName;
use crate::domain::rate_limit::{Limit, RateLimit, RateLimited, Used};
use crate::domain::refusal::Refusal;
use crate::domain::session::Device;
use crate::domain::time::Timestamp;

use super::caller::Caller;
use super::{Authority, Error, Realm};

/// Callers and addresses that are remembered; beyond, those that come seldom are forgotten first.
const REMEMBERED: usize = 1 << 16;

/// What callers and addresses have used of their limits.
#[derive(Debug)]
pub(super) struct Throttle {
    /// By a keyed hash: no address is kept, and nobody can choose to collide with another.
    used: Cache<u64, Arc<AtomicI64>>,
    hasher: RandomState,
    refused: [AtomicU64; Limit::ALL.len()],
}

impl Default for Throttle {
    fn default() -> Self {
        Self { used: Cache::new(REMEMBERED), hasher: RandomState::new(), refused: Default::default() }
    }
}

impl Throttle {
    /// One more of `who`, or a refusal.
    fn take(&self, limit: (Limit, RateLimit), who: (&RealmName, impl Hash), now: Timestamp) -> Result<(), RateLimited> {
        let (name, limit) = limit;
        let key = self.hasher.hash_one((name.name(), who.0.as_str(), who.1));
        let Ok(used) = self.used.get_or_insert_with(&key, || Ok::<_, Infallible>(Arc::default()));
        let mut known = used.load(Ordering::Relaxed);
        loop {
            let next = limit.take_of(name, Used::from_nanos(known), now)?.to_nanos();
            match used.compare_exchange_weak(known, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => known = newer,
            }
        }
    }

    /// Counts a refusal by any limit.
    pub(super) fn count(&self, refusal: &Refusal) {
        if let Refusal::RateLimited(RateLimited { limit, .. }) = refusal {
            self.refused[*limit as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where a user calls from, as far as a limit tells users apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Address(IpAddr);

impl Address {
    /// As the caller tells it; `None` if that is no address.
    pub(super) fn told(device: &Device) -> Option<Self> {
        device.ip_address.parse().ok().map(Self::of)
    }

    /// Of an address: whoever has one of IPv6 has the 64 bits behind it too (RFC 6177).
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Authority {
    /// One more call of a caller. Nobody in particular has no limit: what anybody may do is cheap.
    pub(super) fn throttle_caller(&self, realm: &Realm, caller: &Caller) -> Result<(), Error> {
        let limit = realm.policy.rate_limits.by_caller;
        match caller {
            Caller::Anybody => Ok(()),
            Caller::Operator(_) => self.throttled(Limit::ByCaller, limit, realm, "operator"),
            Caller::Client(client, _) => self.throttled(Limit::ByCaller, limit, realm, ("client", &client.client.id)),
            Caller::Subject(token) => self.throttled(Limit::ByCaller, limit, realm, ("subject", &token.subject)),
        }
    }

    /// One more login or refresh from an address, where that is known.
    pub(super) fn throttle_address(&self, realm: &Realm, address: Option<Address>) -> Result<(), Error> {
        address.map_or(Ok(()), |address| self.throttled(Limit::ByIp, realm.policy.rate_limits.by_ip, realm, address))
    }

    /// How often each limit refused.
    pub fn rate_limited(&self) -> impl Iterator<Item = (Limit, u64)> {
        let refused = Limit::ALL.into_iter().zip(&self.throttle.refused);
        refused.map(|(limit, refused)| (limit, refused.load(Ordering::Relaxed)))
    }

    fn throttled(&self, name: Limit, limit: Option<RateLimit>, realm: &Realm, who: impl Hash) -> Result<(), Error> {
        let Some(limit) = limit else { return Ok(()) };
        let taken = self.throttle.take((name, limit), (realm.name(), who), self.now()).map_err(Refusal::from);
        taken.inspect_err(|refusal| self.throttle.count(refusal)).map_err(Error::from)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + millis)
    }

    #[test]
    fn each_caller_has_a_limit_of_its_own_and_threads_share_it() {
        let limit = (Limit::ByCaller, RateLimit::new(1_000, Duration::from_secs(1)).expect("a limit"));
        let (throttle, realm) = (Throttle::default(), RealmName::parse("web").expect("a name"));
        let admitted = || (0..500).filter(|_| throttle.take(limit, (&realm, "app"), at(0)).is_ok()).count();
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(admitted)).collect();
            threads.into_iter().map(|thread| thread.join().expect("ends")).sum()
        });
        assert_eq!(total, 1_000);
        let limited = throttle.take(limit, (&realm, "app"), at(0)).expect_err("used up");
        assert_eq!(limited, RateLimited { limit: Limit::ByCaller, retry_after: Duration::from_millis(1) });
        assert!(throttle.take(limit, (&realm, "app"), at(1)).is_ok());
        assert!(throttle.take(limit, (&realm, "other"), at(0)).is_ok());
        let other = RealmName::parse("other").expect("a name");
        assert!(throttle.take(limit, (&other, "app"), at(0)).is_ok(), "in another realm");
    }

    #[test]
    fn memory_is_bounded_however_many_come() {
        let limit = (Limit::ByIp, RateLimit::new(1, Duration::from_secs(60)).expect("a limit"));
        let (throttle, realm) = (Throttle::default(), RealmName::parse("web").expect("a name"));
        for who in 0..2 * REMEMBERED {
            assert!(throttle.take(limit, (&realm, who), at(0)).is_ok());
        }
        assert!(throttle.used.len() <= REMEMBERED);
    }

    #[test]
    fn an_address_is_what_one_user_has() {
        let address = |text: &str| Address::of(text.parse().expect("an address"));
        assert_eq!(address("2001:db8:1:2:3::4"), address("2001:db8:1:2:ffff::"));
        assert_ne!(address("2001:db8:1:2::"), address("2001:db8:1:3::"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        let told = |ip_address: &str| Address::told(&Device { ip_address: ip_address.to_owned(), ..Device::default() });
        assert_eq!(told("192.0.2.1"), Some(address("192.0.2.1")));
        assert_eq!(told("the moon"), None);
    }
}
