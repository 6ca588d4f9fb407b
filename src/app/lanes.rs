//! Threads that serve one edge, one a core, each with a runtime of its own: what a connection asks for is
//! done where the connection is, and wakes no other core.

use std::io;
use std::num::NonZero;
use std::thread;

use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::store::OpenStore;
use crate::tasks::Tasks;

/// As many as there are cores.
pub(super) fn count() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// What the threads need.
pub(super) struct Lanes {
    /// The threads stay until every one has ended: calls began some of them there.
    pub(super) tasks: Tasks,
    /// Calls ask it from where they are.
    pub(super) store: OpenStore,
}

impl Lanes {
    /// Runs each future on a thread of its own until all have ended. Dropped, it ends them.
    pub(super) async fn run(
        self,
        name: &str,
        futures: impl IntoIterator<Item = impl Future<Output = Result<(), String>> + Send + 'static>,
    ) -> Result<(), String> {
        let at_home = |future| {
            let store = self.store.clone();
            // On the heap: what a thread runs beside it needs the stack.
            Box::pin(async move { store.at_home(future).await })
        };
        run(name, futures.into_iter().map(at_home).collect(), self.tasks).await
    }
}

async fn run(
    name: &str,
    futures: Vec<impl Future<Output = Result<(), String>> + Send + 'static>,
    tasks: Tasks,
) -> Result<(), String> {
    let dropped = CancellationToken::new();
    let _drop = dropped.clone().drop_guard();
    let mut lanes = Vec::new();
    for (number, future) in futures.into_iter().enumerate() {
        let (tell, ended) = oneshot::channel();
        let (dropped, tasks) = (dropped.clone(), tasks.clone());
        let lane = async move {
            let outcome = dropped.run_until_cancelled_owned(future).await;
            let _ = tell.send(outcome.unwrap_or(Ok(())));
            tasks.ended().await;
        };
        let lane = move || match runtime() {
            Ok(runtime) => runtime.block_on(lane),
            Err(error) => error!(%error, "a thread can't serve"),
        };
        thread::Builder::new().name(format!("{name}-{number}")).spawn(lane).map_err(|error| error.to_string())?;
        lanes.push(ended);
    }
    let outcomes =
        lanes.into_iter().map(async |lane| lane.await.unwrap_or(Err("a thread that served ended early".to_owned())));
    try_join_all(outcomes).await.map(drop)
}

/// What other threads wake goes first: of calls that were answered together, each then goes on before any is
/// written to its connection, and they are written in one piece.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().global_queue_interval(1).build()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Tells of a thread that ended, and how.
    struct Ends(mpsc::Sender<Option<String>>);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().name().map(str::to_owned));
        }
    }

    #[tokio::test]
    async fn each_future_has_a_thread_and_the_first_failure_ends_all() {
        let (ends, ended) = mpsc::channel();
        let [stays, fails] = [(); 2].map(|()| Ends(ends.clone()));
        let future = |ends: Ends, outcome: Option<String>| async move {
            let _ends = ends;
            match outcome {
                Some(error) => Err(error),
                None => std::future::pending().await,
            }
        };
        let futures = vec![future(stays, None), future(fails, Some("no".to_owned()))];
        assert_eq!(run("lane", futures, Tasks::default()).await, Err("no".to_owned()));
        let mut names: Vec<_> = ended.iter().take(2).flatten().collect();
        names.sort();
        assert_eq!(names, ["lane-0", "lane-1"]);
    }

    #[tokio::test]
    async fn a_thread_stays_for_the_tasks_that_its_calls_began() {
        let tasks = Tasks::default();
        let (go_on, goes_on) = oneshot::channel();
        let (done, is_done) = mpsc::channel();
        let begun = tasks.clone();
        let serving = async move {
            begun.spawn(async move {
                let _ = goes_on.await;
                let _ = done.send(());
            });
            Ok(())
        };
        run("lane", vec![serving], tasks.clone()).await.expect("served");
        go_on.send(()).expect("it still waits");
        tasks.finished().await;
        is_done.recv().expect("it ran to its end");
    }
}
