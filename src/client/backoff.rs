//! How long to wait before trying again. Knows not what is tried.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Pauses that double up to a longest one, each shortened by chance by up to half, so that clients
/// which failed together do not return together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// From the first pause to the longest.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The pause after so many failures before this one.
    pub(super) fn pause(self, failures: u32) -> Duration {
        let whole = self.first.saturating_mul(1 << failures.min(16)).min(self.longest);
        let thousandths = u32::try_from(RandomState::new().hash_one(()) % 500).unwrap_or(0);
        whole - whole * thousandths / 1000
    }

    /// The longest pause.
    pub(super) const fn longest(self) -> Duration {
        self.longest
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_longest_and_lose_at_most_half() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for (failures, whole) in [(0, 100), (1, 200), (3, 800), (4, 1000), (u32::MAX, 1000)] {
            let pause = backoff.pause(failures).as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{failures} failures: {pause} ms");
        }
    }
}
