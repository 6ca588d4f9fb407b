//! The machine's randomness: the only place that reads it. Its clock is `clock`'s.

use crate::authority::ports::Entropy;
pub use crate::clock::SystemClock;

/// The operating system's random number generator, through aws-lc.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the system has no randomness: no secret may be made without.
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the system's random number generator works");
    }
}
