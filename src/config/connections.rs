//! How many connections a listener keeps open, and how long a peer may keep it waiting.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::Raw;
use super::value;

const MOST: RangeInclusive<usize> = 1..=1_000_000;
const PEER_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const HANDSHAKE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// The same for each listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Open at a time.
    pub most: usize,
    /// How long a peer may be silent, or leave the head of a request unfinished.
    pub peer_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long one of gRPC is used before its client is asked to open another.
    pub age: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            most: 4_096,
            // Load balancers keep idle connections for 60 s, and fail the request that meets a closed one.
            peer_timeout: Duration::from_secs(75),
            handshake_timeout: Duration::from_secs(10),
            age: Duration::from_secs(30 * 60),
        }
    }
}

/// Parses how many.
pub(super) fn most(raw: &Raw) -> Result<usize, String> {
    value::integer(raw, &MOST)
}

/// Parses how long.
pub(super) fn peer_timeout(raw: &Raw) -> Result<Duration, String> {
    value::duration(raw, &PEER_TIMEOUT, Duration::from_secs(1))
}

/// Parses how long.
pub(super) fn handshake_timeout(raw: &Raw) -> Result<Duration, String> {
    value::duration(raw, &HANDSHAKE_TIMEOUT, Duration::from_secs(1))
}

/// Parses how long.
pub(super) fn age(raw: &Raw) -> Result<Duration, String> {
    value::duration(raw, &AGE, Duration::from_secs(1))
}
