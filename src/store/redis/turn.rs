//! What is asked in one turn of a thread is gathered, and leaves together. Knows no question.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::authority::ports::StoreError;
use crate::tasks::Tasks;

/// Where questions wait that leave over the same connection.
#[derive(Debug)]
pub(super) struct Turn<Q, A>(Arc<Mutex<Vec<Waiting<Q, A>>>>);

/// A question, and who waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting<Q, A> {
    pub(super) question: Q,
    pub(super) answer: oneshot::Sender<Result<A, StoreError>>,
}

impl<Q: Send + 'static, A: Send + 'static> Turn<Q, A> {
    /// Asks together with what else is asked in this turn: `leave` gets all of it if this one is the first.
    /// Goes on if nobody waits for the answer any more; one that is lost on the way is `lost`.
    pub(super) async fn ask<F: Future<Output = ()> + Send>(
        self,
        question: Q,
        lost: fn() -> StoreError,
        tasks: &Tasks,
        leave: impl FnOnce(Vec<Waiting<Q, A>>) -> F + Send + 'static,
    ) -> Result<A, StoreError> {
        let (answer, answered) = oneshot::channel();
        if let Some(first) = self.join(Waiting { question, answer }) {
            tasks.spawn(async move {
                // The runtime comes back to this once it is through with what is ready, or with 61 pieces of it.
                tokio::task::yield_now().await;
                leave(first.take_all()).await;
            });
        }
        answered.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Whoever is the first has to see to it that all leave.
    fn join(self, waiting: Waiting<Q, A>) -> Option<First<Q, A>> {
        let is_first = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(waiting);
            all.len() == 1
        };
        is_first.then(|| First(Some(self)))
    }

    fn take(&self) -> Vec<Waiting<Q, A>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Dropped with a runtime that ends before anything has left, it refuses all of it; whoever asks after that
/// is the first again.
struct First<Q: Send + 'static, A: Send + 'static>(Option<Turn<Q, A>>);

impl<Q: Send + 'static, A: Send + 'static> First<Q, A> {
    fn take_all(mut self) -> Vec<Waiting<Q, A>> {
        self.0.take().map(|turn| turn.take()).unwrap_or_default()
    }
}

impl<Q: Send + 'static, A: Send + 'static> Drop for First<Q, A> {
    fn drop(&mut self) {
        for Waiting { answer, .. } in self.0.take().map(|turn| turn.take()).unwrap_or_default() {
            let _ = answer.send(Err(StoreError::Unavailable("the thread that asks is stopping".into())));
        }
    }
}

impl<Q, A> Clone for Turn<Q, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q, A> Default for Turn<Q, A> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Gives each its answer, of which there are as many, or all of them what kept them from any.
pub(super) fn answer<T, V, A>(
    waiting: Vec<(T, oneshot::Sender<Result<A, StoreError>>)>,
    answers: Result<Vec<V>, StoreError>,
    read: impl Fn(T, V) -> Result<A, StoreError>,
) {
    // Whoever no longer waits learns the outcome by asking again.
    match answers {
        Ok(answers) => {
            for ((about, waiting), answer) in waiting.into_iter().zip(answers) {
                let _ = waiting.send(read(about, answer));
            }
        }
        Err(error) => {
            for (_, waiting) in waiting {
                let _ = waiting.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(question: u16) -> (Waiting<u16, ()>, oneshot::Receiver<Result<(), StoreError>>) {
        let (answer, answered) = oneshot::channel();
        (Waiting { question, answer }, answered)
    }

    #[test]
    fn a_first_that_ends_early_refuses_those_behind_it_and_no_later_ones() {
        let turn = Turn::default();
        let [(one, mut of_one), (two, mut of_two), (three, mut of_three)] = [1, 2, 3].map(waiting);
        let first = turn.clone().join(one).expect("the first");
        assert!(turn.clone().join(two).is_none());
        drop(first);
        for answered in [&mut of_one, &mut of_two] {
            assert!(matches!(answered.try_recv(), Ok(Err(StoreError::Unavailable(_)))));
        }
        let first = turn.clone().join(three).expect("the first again");
        assert_eq!(first.take_all().len(), 1);
        assert!(of_three.try_recv().is_err());
        assert!(turn.take().is_empty());
    }
}
