//! Background tasks of one server: all spawned here, so that a stop can wait for them.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// Spawns tasks and waits for them.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopped: CancellationToken,
}

impl Tasks {
    /// Runs a task to its end, even if nobody waits for it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Runs a task that has no end of its own, until the others have theirs.
    pub fn spawn_until_stopped(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stopped.clone();
        self.tracker.spawn(async move {
            stopped.run_until_cancelled_owned(task).await;
        });
    }

    /// Runs a listener, which ends by its own signal.
    #[expect(clippy::disallowed_methods, reason = "awaited or aborted by its handle")]
    pub fn spawn_edge(
        &self,
        name: &'static str,
        edge: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> JoinHandle<()> {
        tokio::spawn(async move {
            if let Err(error) = edge.await {
                error!(edge = name, error, "the listener failed");
            }
        })
    }

    /// Waits until `finished` was asked for, and every task has ended.
    pub async fn ended(&self) {
        self.tracker.wait().await;
    }

    /// Waits until every task spawned so far has ended.
    pub async fn finished(&self) {
        self.stopped.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
