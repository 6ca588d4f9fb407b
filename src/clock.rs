//! The time as everything else is given it, and the machine's own: the only place that reads a clock.
//! The server and the client's SDK share it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Tells the time. Injected, so that tests can turn it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now. Never earlier than it said before.
    fn now(&self) -> Timestamp;

    /// Whether it can be believed; a server whose clock can't is not ready.
    fn in_order(&self) -> Result<(), ClockJumped> {
        Ok(())
    }
}

/// The machine's clock was set by more than can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine's clock was set by more than 30 s: set it right, or restart the server")]
pub struct ClockJumped;

/// How far the wall clock may stray from the machine's steady one before it is not believed.
const MAX_STEP: Duration = Duration::from_secs(30);
/// How often a clock in good order is taken as the new measure: small corrections add up over months.
const ANCHOR_EVERY: Duration = Duration::from_secs(60);

/// The wall clock, which never goes back here. If it is set by more than 30 s, time goes on by the
/// machine's steady clock, and the server is not ready: nothing un-expires, nothing ends early.
#[derive(Debug)]
pub struct SystemClock(Mutex<Reading>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    anchor: (Instant, Timestamp),
    latest: Timestamp,
    jumped: bool,
}

impl Default for SystemClock {
    fn default() -> Self {
        let now = (steady(), wall());
        Self(Mutex::new(Reading { anchor: now, latest: now.1, jumped: false }))
    }
}

impl SystemClock {
    fn read(&self) -> Reading {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reading.advance(steady(), wall());
        *reading
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.read().latest
    }

    fn in_order(&self) -> Result<(), ClockJumped> {
        if self.read().jumped { Err(ClockJumped) } else { Ok(()) }
    }
}

impl Reading {
    fn advance(&mut self, steady: Instant, wall: Timestamp) {
        let passed = steady.saturating_duration_since(self.anchor.0);
        let expected = self.anchor.1 + passed;
        self.jumped = expected.since(wall).max(wall.since(expected)) > MAX_STEP;
        let believed = if self.jumped { expected } else { wall };
        if !self.jumped && passed > ANCHOR_EVERY {
            self.anchor = (steady, wall);
        }
        self.latest = self.latest.max(believed);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[expect(clippy::disallowed_methods, reason = "the measure that the wall clock is held against")]
fn steady() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_not_believed_until_it_is_right_again() {
        let (start, noon) = (steady(), Timestamp::from_seconds(1_800_000_000));
        let mut reading = Reading { anchor: (start, noon), latest: noon, jumped: false };
        let mut at = |seconds: u64, wall: Timestamp| {
            reading.advance(start + Duration::from_secs(seconds), wall);
            (reading.latest.since(noon).as_secs(), reading.jumped)
        };
        let second = Duration::from_secs(1);
        assert_eq!(at(10, noon + 10 * second), (10, false));
        assert_eq!(at(11, noon + 5 * second), (10, false), "a little back: it stands");
        assert_eq!(at(20, noon - 1_200 * second), (20, true), "set back: the steady clock goes on");
        assert_eq!(at(30, noon + 7_200 * second), (30, true), "set ahead");
        assert_eq!(at(40, noon + 40 * second), (40, false), "right again");
        for minute in 1..=60 {
            // A second slow each minute, as while it is being corrected: never a jump.
            let (_, jumped) = at(60 * minute + 40, noon + Duration::from_secs(59 * minute + 40));
            assert!(!jumped, "minute {minute}");
        }
    }
}
