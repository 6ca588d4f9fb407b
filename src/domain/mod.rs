//! The rules. Pure: no I/O, no clock, no randomness, and nothing imported from the other layers.

pub mod algorithm;
pub mod caller_name;
pub mod claims;
pub mod client;
pub mod device;
pub mod end_session;
pub mod exchange;
pub mod fact;
pub mod ids;
pub mod key_ring;
pub mod live;
pub mod messages;
pub mod open_session;
pub mod own_claims;
pub mod policy;
pub mod put_back;
pub mod rate_limit;
pub mod refresh;
pub mod refusal;
pub mod revocation;
pub mod rotate_keys;
pub mod session;
pub mod subject;
pub mod time;
pub mod token;
pub mod token_profile;
pub mod touch;
pub mod transition;
pub mod trust_device;
pub mod update_claims;

#[cfg(test)]
mod histories;
