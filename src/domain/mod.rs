//! The rules. Pure: no I/O, no clock, no randomness, and nothing imported from the other layers.

pub mod algorithm;
pub mod claims;
pub mod ids;
pub mod revocation;
pub mod time;
pub mod token;
