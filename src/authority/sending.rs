//! One commit on its way to the store. A commit whose outcome is unknown is sent again as it is, which
//! its id makes harmless; it is never said to have changed nothing.

use super::error::Error;
use super::ports::{Commit, Outcome, Store, StoreError};

/// How often a commit is sent before its outcome is left unknown.
const TRIES: usize = 3;

/// How sending ended.
pub(super) struct Sent {
    /// What the last answer means.
    pub outcome: Result<Outcome, Error>,
    /// The commit may be in the store without having been acknowledged: so may its revocations.
    pub in_doubt: bool,
}

/// Sends a commit until its outcome is known.
pub(super) async fn send(store: &dyn Store, commit: &Commit) -> Sent {
    let mut unknown = None;
    for _ in 0..TRIES {
        let outcome = match store.commit(commit).await {
            Err(StoreError::OutcomeUnknown(cause)) => {
                unknown = Some(cause);
                continue;
            }
            // An earlier try may have been written, whatever this one met.
            Err(StoreError::Unavailable(_) | StoreError::Full(_)) if unknown.is_some() => continue,
            known => known,
        };
        // A conflict may be with a writer who came after the earlier try, not before it.
        let in_doubt = unknown.is_some() && !matches!(outcome, Ok(Outcome::Committed(_)));
        return Sent { outcome: outcome.map_err(Error::from), in_doubt };
    }
    let cause = unknown.unwrap_or_else(|| "no answer".into());
    Sent { outcome: Err(Error::OutcomeUnknown(cause)), in_doubt: true }
}
