//! The local clock held against that of Redis: how far they are apart, and the time that follows for
//! everything that several servers judge together. Asks nobody by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::authority::ports::{Clock, ClockJumped};
use crate::domain::time::Timestamp;

/// Beyond this, validity would be counted in two times.
const MOST: Duration = Duration::from_secs(2);

/// How far Redis is ahead, and how far that may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Difference {
    ahead_millis: i64,
    error: Duration,
}

impl Difference {
    /// From what TIME answered between two local times; `None` where that is no time. A call that
    /// takes longer than a measurement may has timed out before.
    pub(super) fn between(before: Timestamp, after: Timestamp, time: &[u64]) -> Option<Self> {
        let [seconds, micros] = time else { return None };
        let theirs = i64::try_from(seconds.checked_mul(1000)?.checked_add(micros / 1000)?).ok()?;
        let error = after.since(before) / 2;
        Some(Self { ahead_millis: theirs.saturating_sub((before + error).millis()), error })
    }

    /// What is wrong with it, for sure.
    pub(super) fn problem(self) -> Option<String> {
        let apart = Duration::from_millis(self.ahead_millis.unsigned_abs()).saturating_sub(self.error);
        (apart > MOST).then(|| {
            format!("its clock differs from this machine's by {} s: run NTP on both (2 s at most)", apart.as_secs())
        })
    }
}

/// The local clock, corrected by what was measured, and by no more than is tolerated: all servers on one
/// Redis then judge by one time. Two that were 2 s off on either side could otherwise count a leeway
/// of 10 s as 6 s, and take a lost answer for a replay.
#[derive(Debug)]
pub(super) struct CorrectedClock {
    local: Arc<dyn Clock>,
    ahead_millis: AtomicI64,
    /// No correction takes time back.
    latest: AtomicI64,
}

impl CorrectedClock {
    pub(super) fn new(local: Arc<dyn Clock>) -> Self {
        Self { local, ahead_millis: AtomicI64::new(0), latest: AtomicI64::new(0) }
    }

    /// The time that measurements are made by.
    pub(super) fn local(&self) -> &dyn Clock {
        &*self.local
    }

    pub(super) fn correct(&self, by: Difference) {
        let most = i64::try_from(MOST.as_millis()).unwrap_or(0);
        self.ahead_millis.store(by.ahead_millis.clamp(-most, most), Ordering::Relaxed);
    }
}

impl Clock for CorrectedClock {
    fn now(&self) -> Timestamp {
        let now = self.local.now().millis() + self.ahead_millis.load(Ordering::Relaxed);
        Timestamp::from_millis(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    fn in_order(&self) -> Result<(), ClockJumped> {
        self.local.in_order()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Standing(Timestamp);

    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    #[test]
    fn two_seconds_of_difference_are_too_many_only_beyond() {
        let at = Timestamp::from_seconds(1000);
        let later = at + Duration::from_millis(500);
        for (theirs, fine) in
            [([1000, 0], true), ([998, 0], true), ([1002, 500_000], true), ([997, 0], false), ([1003, 0], false)]
        {
            let difference = Difference::between(at, later, &theirs).expect("a time");
            assert_eq!(difference.problem().is_none(), fine, "{theirs:?}");
        }
        assert_eq!(Difference::between(at, later, &[]), None);
        assert_eq!(Difference::between(at, later, &[u64::MAX, 0]), None);
    }

    #[test]
    fn a_correction_is_bounded_and_takes_no_time_back() {
        let at = Timestamp::from_seconds(1000);
        let clock = CorrectedClock::new(Arc::new(Standing(at)));
        let measured = |seconds: u64| Difference::between(at, at, &[seconds, 0]).expect("a time");
        for (theirs, now) in [(1001, 1001), (3000, 1002), (999, 1002)] {
            clock.correct(measured(theirs));
            assert_eq!(clock.now(), Timestamp::from_seconds(now), "{theirs}");
        }
        let fresh = CorrectedClock::new(Arc::new(Standing(at)));
        fresh.correct(measured(999));
        assert_eq!(fresh.now(), Timestamp::from_seconds(999));
    }
}
