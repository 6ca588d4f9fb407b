//! Keys that are random already: a hash table may take their bits as they are. Only for values that
//! nobody outside can choose, or that a table never holds unless they are authentic.

use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Bytes of which every bit is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Uniform<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> Hash for Uniform<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_le_bytes(std::array::from_fn(|i| self.0[N - 8 + i])));
    }
}

/// Passes the bits through.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PassThrough(u64);

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }
}

pub(super) type Build = BuildHasherDefault<PassThrough>;
