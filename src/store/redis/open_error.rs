//! Why a Redis can't be the store, each with the remedy. Knows no connection.

use crate::authority::ports::StoreError;

/// Why the store can't be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL says something that no Redis understands.
    #[error("the store's URL: {0}")]
    Url(&'static str),
    /// The certificates that the URL names.
    #[error("the store's URL: ca={path}: {detail}")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// No connection.
    #[error(
        "can't reach Redis at {address}: {detail}; check that it runs there, and user, password and TLS in the URL"
    )]
    Unreachable {
        /// The servers, without password.
        address: String,
        /// What the driver says.
        detail: String,
    },
    /// It would lose what it acknowledged, or count time otherwise.
    #[error(
        "this Redis is not safe for sessions: {}. To start all the same, pass --accept-unsafe-store",
        .0.join("; ")
    )]
    Unsafe(Vec<String>),
    /// Nothing was ever stored there.
    #[error("there is no store in Redis at {address} under the prefix {prefix}:")]
    Absent {
        /// The servers, without password.
        address: String,
        /// The store's prefix.
        prefix: String,
    },
    /// Another version's data.
    #[error(
        "the keys under {prefix}: have layout {found:?}, this version needs {expected:?}: use the version that wrote \
         them, or another prefix or database"
    )]
    Layout {
        /// The store's prefix.
        prefix: String,
        /// What is there.
        found: String,
        /// What this version reads.
        expected: &'static str,
    },
    /// It answered, but not as it should.
    #[error("can't open the store in Redis: {0}")]
    Store(#[from] StoreError),
}
