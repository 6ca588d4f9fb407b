//! How commits leave: those that come in one turn of a thread as one script, which costs Redis less than half of
//! what they cost one by one, and the driver one write. Each has its own answer and fails for itself alone.

use std::sync::Arc;

use fred::clients::Client;
use fred::types::Value;
use futures::future::join_all;

use super::GARBAGE_SLACK;
use super::clock::CorrectedClock;
use super::connect;
use super::fault;
use super::layout::{Keys, decode_head, encode_entry, encode_record, partition};
use super::log::bytes;
use super::replicas::Replicas;
use super::script::{Script, each};
use super::together::Together;
use super::turn::{self, Waiting};
use crate::authority::ports::{Clock as _, Commit, Entropy, StoreError};
use crate::domain::revocation::Position;
use crate::domain::time::Timestamp;
use crate::tasks::Tasks;

/// What a commit came to: where the log of its partition stands, or `None`, a conflict.
type Committed = Option<Position>;

/// Where commits wait.
pub(super) type Turn = turn::Turn<Written, Committed>;

/// Makes scripts of commits, and sends them.
pub(super) struct Commits {
    script: Script,
    keys: Keys,
    clock: Arc<CorrectedClock>,
    entropy: Arc<dyn Entropy>,
    together: Together,
    tasks: Tasks,
}

/// Over what they leave.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Sent once: answered as soon as Redis has them.
    Plain(Client),
    /// Answered once replicas have them.
    Awaited(Replicas),
}

/// A commit as the script takes it.
#[derive(Debug)]
pub(super) struct Written {
    partition: u16,
    entries: usize,
    keys: [String; 4],
    arguments: Vec<Value>,
}

impl Commits {
    pub(super) fn new(
        together: Together,
        keys: Keys,
        clock: Arc<CorrectedClock>,
        entropy: Arc<dyn Entropy>,
        tasks: Tasks,
    ) -> Self {
        Self { script: Script::commit(), keys, clock, entropy, together, tasks }
    }

    /// Sends a commit together with what else comes in this turn.
    pub(super) async fn send(self: &Arc<Self>, commit: &Commit, turn: Turn, way: Way) -> Result<Committed, StoreError> {
        let commits = self.clone();
        let leave = async move |mut waiting: Vec<Waiting<Written, Committed>>| {
            // When memory is full, a script is refused only what stands before its first write: whatever follows
            // a revocation, which is never refused, would pass. (So does what follows a commit that is repeated.)
            waiting.sort_by_key(|waiting| waiting.question.entries);
            let place = |waiting: &Waiting<Written, _>| waiting.question.partition;
            let scripts = commits.together.scripts(waiting, place, |waiting| 1 + waiting.question.entries);
            join_all(scripts.into_iter().map(|script| commits.run(script, &way))).await;
        };
        turn.ask(self.written(commit), lost, &self.tasks, leave).await
    }

    /// Runs commits as one script; or again, where a node has refused it since the slot has moved.
    async fn run(&self, commits: Vec<Waiting<Written, Committed>>, way: &Way) {
        let mut keys = Vec::with_capacity(4 * commits.len());
        let mut arguments = vec![self.keys.channel().into()];
        let mut waiting = Vec::with_capacity(commits.len());
        for Waiting { question, answer } in commits {
            keys.extend(question.keys);
            arguments.extend(question.arguments);
            waiting.push((question.partition, answer));
        }
        let sent = match way {
            Way::Plain(client) => {
                let once = connect::once();
                let sent = connect::following_slots(|| self.script.run(client, &once, &keys, &arguments)).await;
                sent.map(|answers| (answers, Ok(()))).map_err(|error| fault::of_commit(&error))
            }
            Way::Awaited(replicas) => replicas.run(&self.script, &keys, &arguments).await,
        };
        let answers = sent.and_then(|(answers, acknowledged)| {
            let answers = each(answers, waiting.len()).ok_or_else(lost)?.into_iter();
            Ok(answers.map(|answer| (answer, acknowledged.clone())).collect())
        });
        turn::answer(waiting, answers, |partition, (answer, acknowledged)| {
            match answer.map_err(|error| fault::of_commit(&error))? {
                Value::Null => Ok(None),
                head => {
                    let head = decode_head(partition, &bytes(head)?)?;
                    // What was written, and replicas do not have, may be lost.
                    acknowledged.map(|()| Some(head))
                }
            }
        });
    }

    fn written(&self, commit: &Commit) -> Written {
        let (partition, now) = (partition(&commit.key), self.clock.now());
        let ttl = |until: Timestamp| connect::millis(until.since(now) + GARBAGE_SLACK);
        let log_ttl = commit.revocations.iter().map(|entry| ttl(entry.until)).max().unwrap_or(0);
        let mut arguments = Vec::with_capacity(8 + 3 * commit.revocations.len());
        arguments.extend([
            commit.id.0.as_slice().into(),
            commit.expected.map_or(Value::from(""), |version| version.0.as_slice().into()),
            now.millis().into(),
            Value::Bytes(encode_record(commit.id, commit.expires, &commit.bytes).into()),
            commit.expires.map_or(0, ttl).into(),
            i64::from(partition).into(),
            log_ttl.into(),
            commit.revocations.len().to_string().into(),
        ]);
        for entry in &commit.revocations {
            let mut tag = [0; 4];
            self.entropy.fill(&mut tag);
            let tag = u32::from_be_bytes(tag);
            let entry_bytes = encode_entry(tag, commit.key.owner(), entry);
            arguments.extend([entry.until.millis().into(), i64::from(tag).into(), Value::Bytes(entry_bytes.into())]);
        }
        let keys = [
            self.keys.record(&commit.key),
            self.keys.log(partition),
            self.keys.head(partition),
            self.keys.watch(&commit.key),
        ];
        Written { partition, entries: commit.revocations.len(), keys, arguments }
    }
}

/// Whoever was not answered may have committed.
fn lost() -> StoreError {
    StoreError::OutcomeUnknown("no answer to a commit".into())
}
