//! Commits that replicas must have before they are answered: their script has a WAIT behind it, which counts
//! what its own connection wrote and holds up whatever comes after it there. So they have connections of
//! their own. Fewer losses in a failover, not none; what is lost all the same is put back (`recent`).

use std::time::Duration;

use fred::clients::Pool;
use fred::types::Value;

use super::address::{Awaited, Wait};
use super::connect;
use super::fault;
use super::script::Script;
use crate::authority::ports::{Commit, StoreError};

/// Below the time that a command may take: too few replicas are an answer, not a lost one.
const WAIT_AT_MOST: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Replicas {
    connections: Pool,
    wait: Wait,
}

impl Replicas {
    pub(super) fn new(connections: Pool, wait: Wait) -> Self {
        Self { connections, wait }
    }

    /// Whether this commit is answered only once they have it.
    pub(super) fn are_awaited_by(&self, commit: &Commit) -> bool {
        match self.wait.commits {
            Awaited::Revocations => !commit.revocations.is_empty(),
            Awaited::Changes => true,
        }
    }

    /// Runs the script and waits: what it answered, and whether enough of them have what it wrote. If not,
    /// that may be lost or not: an unknown outcome, whatever WAIT said.
    pub(super) async fn run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[Value],
    ) -> Result<(Value, Result<(), StoreError>), StoreError> {
        let wait = [i64::from(self.wait.replicas).into(), connect::millis(WAIT_AT_MOST).into()];
        let once = connect::once();
        let send = || script.run_and_wait(self.connections.next_connected(), &once, keys, arguments, &wait);
        let (answer, acknowledged) = connect::following_slots(send).await.map_err(|error| fault::of_commit(&error))?;
        let unknown = |found: String| Err(StoreError::OutcomeUnknown(found.into()));
        let acknowledged = match acknowledged {
            Ok(Value::Integer(replicas)) if replicas >= i64::from(self.wait.replicas) => Ok(()),
            Ok(replicas) => unknown(format!("{replicas:?} of {} replicas acknowledged in time", self.wait.replicas)),
            Err(error) => unknown(format!("WAIT: {error}")),
        };
        Ok((answer, acknowledged))
    }
}
