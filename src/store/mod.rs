//! Where records and revocations are kept. Knows keys, versions and bytes, and nothing of what a
//! record says.

pub mod embedded;
pub mod log_entry;
