//! Where records and revocations are kept. Knows keys, versions and bytes, and nothing of what a
//! record says.

pub mod alone;
pub mod copy;
pub mod embedded;
pub mod key_encryption_key;
pub mod log_entry;
pub mod observed;
pub mod redis;
pub mod scan;
pub mod sealing;
pub mod vault;
