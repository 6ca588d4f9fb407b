//! How reads leave: those that come in one turn of a thread as one script, each with its own answer. One alone
//! is a GET. (While writes are paused for a failover, Redis holds up scripts too.)

use std::sync::Arc;

use fred::clients::Client;
use fred::interfaces::KeysInterface as _;
use fred::types::Value;
use fred::types::config::Options;
use futures::FutureExt as _;
use futures::future::join_all;

use super::connect::following_slots;
use super::fault;
use super::script::{Script, each};
use super::together::Together;
use super::turn::{self, Waiting};
use crate::authority::ports::StoreError;
use crate::tasks::Tasks;

/// Where reads wait.
pub(super) type Turn = turn::Turn<Wanted, Value>;

/// What stands under a name.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) partition: u16,
    pub(super) name: String,
}

/// Makes scripts of reads, and sends them.
pub(super) struct Reads {
    script: Script,
    together: Together,
    tasks: Tasks,
}

impl Reads {
    pub(super) fn new(together: Together, tasks: Tasks) -> Self {
        Self { script: Script::read(), together, tasks }
    }

    /// Reads together with what else is read in this turn; null where nothing stands.
    pub(super) async fn read(
        self: &Arc<Self>,
        wanted: Wanted,
        turn: Turn,
        client: Client,
    ) -> Result<Value, StoreError> {
        let reads = self.clone();
        let leave = async move |waiting: Vec<Waiting<Wanted, Value>>| {
            let scripts = reads.together.scripts(waiting, |waiting| waiting.question.partition, |_| 1);
            join_all(scripts.into_iter().map(|script| reads.run(script, &client))).await;
        };
        turn.ask(wanted, lost, &self.tasks, leave).await
    }

    async fn run(&self, reads: Vec<Waiting<Wanted, Value>>, client: &Client) {
        let (names, waiting): (Vec<_>, Vec<_>) =
            reads.into_iter().map(|Waiting { question, answer }| (question.name, ((), answer))).unzip();
        let options = Options::default();
        let alone = || join_all(names.iter().map(async |name| following_slots(|| client.get(name)).await)).map(Ok);
        let answers = match &names[..] {
            [_] => alone().await,
            names => match self.script.run(client, &options, names, &[]).await {
                // Of a slot that is moving, each of the two nodes has some.
                Err(error) if fault::was_redirected(&error) => alone().await,
                Err(error) => Err(fault::of_read(&error)),
                Ok(answers) => each(answers, names.len()).ok_or_else(lost),
            },
        };
        turn::answer(waiting, answers, |(), found| found.map_err(|error| fault::of_read(&error)));
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("no answer to a read".into())
}
