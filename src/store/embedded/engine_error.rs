//! The engine's many errors as one, and what they mean to a caller of the store.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::authority::ports::StoreError;

/// What the engine reported. Boxed, since the engine's own error is large and rare.
#[derive(Debug)]
pub(super) struct EngineError(Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for EngineError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// For reads, and for writes that never reached their commit.
impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        match *error.0 {
            redb::Error::Corrupted(detail) => Self::Corrupt(detail.into()),
            other => Self::Unavailable(other.to_string().into()),
        }
    }
}

/// The engine checks its pages after a crash, not when it reads, and panics on some that are
/// damaged. Nothing of ours is half changed by then, so the caller gets an error and lives on.
pub(super) fn surviving_damage<T>(read: impl FnOnce() -> T) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| StoreError::Corrupt("a page of the store is damaged".into()))
}
