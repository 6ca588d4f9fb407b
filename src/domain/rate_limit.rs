//! How often something may be done: so many times at once, and then as fast as the rate. What was used of
//! a limit is one number (GCRA, ITU-T I.371), so a limit costs a record a few bytes. Knows no clock.

use std::fmt;
use std::time::Duration;

use super::time::Timestamp;

/// Which limit was reached, as answers and metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Refreshes of a subject's sessions.
    RefreshBySubject,
    /// Logins of a subject.
    IssueBySubject,
    /// Calls of a caller.
    ByCaller,
    /// Logins and refreshes from an address.
    ByIp,
}

impl Limit {
    /// Each limit.
    pub const ALL: [Self; 4] = [Self::RefreshBySubject, Self::IssueBySubject, Self::ByCaller, Self::ByIp];

    /// As its key in a realm's policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RefreshBySubject => "refresh_by_subject",
            Self::IssueBySubject => "issue_by_subject",
            Self::ByCaller => "by_caller",
            Self::ByIp => "by_ip",
        }
    }
}

/// A realm's limits; `None`: as often as anybody likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Refreshes that replace a token, of all sessions of a subject together.
    pub refresh_by_subject: Option<RateLimit>,
    /// Sessions opened for a subject.
    pub issue_by_subject: Option<RateLimit>,
    /// Calls of one caller.
    pub by_caller: Option<RateLimit>,
    /// Logins and refreshes from one address.
    pub by_ip: Option<RateLimit>,
}

/// A limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimited {
    /// Which.
    pub limit: Limit,
    /// When the same would be admitted, to the millisecond, if nothing else comes first.
    pub retry_after: Duration,
}

/// So many times a period: all at once, or spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    count: u32,
    period: Duration,
}

impl RateLimit {
    /// `None` where one of them is zero.
    pub fn new(count: u32, period: Duration) -> Option<Self> {
        (count > 0 && !period.is_zero()).then_some(Self { count, period })
    }

    /// How much of the time is used up by one more at `now`; `Err`: too soon, by so much.
    pub fn take(self, used: Used, now: Timestamp) -> Result<Used, Duration> {
        let now = nanos(now);
        // Rounded up: a rate is never exceeded.
        let each = i64::try_from(self.period.as_nanos().div_ceil(u128::from(self.count))).unwrap_or(i64::MAX);
        let burst = each.saturating_mul(i64::from(self.count));
        let next = used.0.max(now).saturating_add(each);
        let early = next.saturating_sub(now).saturating_sub(burst);
        match u64::try_from(early) {
            Ok(early) if early > 0 => Err(Duration::from_millis(early.div_ceil(1_000_000))),
            _ => Ok(Used(next)),
        }
    }

    /// The same, naming the limit that was reached.
    pub fn take_of(self, limit: Limit, used: Used, now: Timestamp) -> Result<Used, RateLimited> {
        self.take(used, now).map_err(|retry_after| RateLimited { limit, retry_after })
    }
}

/// As a policy is written.
impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}", self.count, self.period)
    }
}

/// What was used of a limit: until when it is, in nanoseconds since the Unix epoch. In the past: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used(i64);

const NANOS_A_MILLI: i64 = 1_000_000;

impl Used {
    /// As `to_nanos` said.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn to_nanos(self) -> i64 {
        self.0
    }

    /// When nothing of it is used any more.
    pub fn over(self) -> Timestamp {
        Timestamp::from_millis(self.0.div_euclid(NANOS_A_MILLI).saturating_add(1))
    }
}

fn nanos(time: Timestamp) -> i64 {
    time.millis().saturating_mul(NANOS_A_MILLI)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + millis)
    }

    #[test]
    fn all_at_once_and_then_one_by_one() {
        let limit = RateLimit::new(30, Duration::from_secs(60)).expect("a limit");
        let mut used = Used::default();
        for _ in 0..30 {
            used = limit.take(used, at(0)).expect("within the burst");
        }
        assert_eq!(limit.take(used, at(0)), Err(Duration::from_secs(2)));
        assert_eq!(limit.take(used, at(1_999)), Err(Duration::from_millis(1)));
        let used = limit.take(used, at(2_000)).expect("one is there again");
        assert_eq!(limit.take(used, at(2_000)), Err(Duration::from_secs(2)));
        assert!(used.over() > at(61_999) && used.over() <= at(62_001));
        assert_eq!(RateLimit::new(0, Duration::from_secs(1)), None);
        assert_eq!(RateLimit::new(1, Duration::ZERO), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Of any two admitted, those between and they themselves are within burst and rate; who keeps
        /// within them is never refused; and who waits as long as he was told is admitted, not sooner.
        #[test]
        fn what_is_admitted_is_what_the_limit_says(
            count in 1u32..20,
            each in 1i64..2_000,
            pauses in prop::collection::vec(prop_oneof![Just(0i64), 1i64..100, 100i64..5_000], 1..80),
        ) {
            let period = Duration::from_millis(u64::try_from(each).expect("positive")) * count;
            let limit = RateLimit::new(count, period).expect("a limit");
            let (mut used, mut now, mut admitted) = (Used::default(), 0, Vec::<i64>::new());
            for pause in pauses {
                now += pause;
                // How many of the last `past` and this one would be within some window.
                let fits = |now: i64| admitted.iter().rev().zip(1i64..).all(|(first, past)| {
                    (past + 1 - i64::from(count)) * each <= now - first
                });
                match limit.take(used, at(now)) {
                    Ok(next) => {
                        prop_assert!(fits(now), "more than the limit says");
                        used = next;
                        admitted.push(now);
                    }
                    Err(wait) => {
                        prop_assert!(!fits(now), "refused below the limit");
                        let wait = i64::try_from(wait.as_millis()).expect("short");
                        prop_assert!(limit.take(used, at(now + wait)).is_ok(), "told to come too soon");
                        prop_assert!(limit.take(used, at(now + wait - 1)).is_err(), "told to come too late");
                    }
                }
            }
        }
    }
}
