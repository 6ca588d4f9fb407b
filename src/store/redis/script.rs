//! The scripts that Redis runs as one step each, and how they are sent: by their hash, by their text
//! where a server does not know it. Knows the layout; decides nothing about errors.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use fred::clients::{Client, Pipeline};
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike as _;
use fred::types::config::Options;
use fred::types::{ClusterHash, CustomCommand, Value};
use fred::util::redis_keyslot;

/// Commits, each whole or not at all. Redis undoes nothing that a script did before it failed, so all
/// that can fail stands before a commit's first write.
///
/// Without revocations that write is refused when memory is full, unless the script has written before. With
/// them it is a removal, which never is, and what follows a script's first write passes too: on 6.2 as well,
/// where no script can be declared to be allowed that.
const COMMIT: &str = include_str!("commit.lua");

/// What stands under each name; `{text}` where that can't be read.
const READ: &str = r"
local answers = {}
for i = 1, #KEYS do
  local found = redis.pcall('GET', KEYS[i])
  answers[i] = type(found) == 'table' and {found.err} or found
end
return answers
";

/// A partition's head and log at one moment.
const SNAPSHOT: &str = r"
-- KEYS head, log.
return {redis.call('GET', KEYS[1]) or '0 0', redis.call('ZRANGE', KEYS[2], 0, -1)}
";

/// A partition's head, written again as it is, so that a WAIT behind it covers all that came before.
const CONFIRM: &str = r"
-- KEYS head, log.
local head = redis.call('GET', KEYS[1])
if not head then return '0 0' end
-- A full server takes no write but a removal first.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '-inf')
redis.call('SET', KEYS[1], head)
return head
";

#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn commit() -> Self {
        Self::new(COMMIT)
    }

    pub(super) fn read() -> Self {
        Self::new(READ)
    }

    pub(super) fn snapshot() -> Self {
        Self::new(SNAPSHOT)
    }

    pub(super) fn confirm() -> Self {
        Self::new(CONFIRM)
    }

    fn new(text: &'static str) -> Self {
        // A name that Redis prescribes; nothing rests on its strength.
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let hash = hash.as_ref().iter().fold(String::with_capacity(40), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self { text, hash }
    }

    /// Runs the script. A server that started or took over meanwhile does not know it by its hash, says
    /// so before it does anything, and gets the text.
    pub(super) async fn run(
        &self,
        client: &Client,
        options: &Options,
        keys: &[String],
        arguments: &[Value],
    ) -> Result<Value, Error> {
        // `evalsha` of a client with options is that of the client, without them.
        let client = client.with_options(options);
        let send = |command, text: &str| client.custom(by_slot(command, keys), words(text, keys, arguments));
        match send("EVALSHA", &self.hash).await {
            Err(error) if unknown_script(&error) => send("EVAL", self.text).await,
            other => other,
        }
    }

    /// The same with a WAIT behind it on the same connection: what the script answered, and how many
    /// replicas have all that it wrote. The one says nothing of the other.
    pub(super) async fn run_and_wait(
        &self,
        client: &Client,
        options: &Options,
        keys: &[String],
        arguments: &[Value],
        wait: &[Value; 2],
    ) -> Result<(Value, Result<Value, Error>), Error> {
        let client = client.with_options(options);
        let send = async |command, text: &str| {
            let pipeline = Pipeline::from(client.clone());
            let _: Value = pipeline.custom(by_slot(command, keys), words(text, keys, arguments)).await?;
            let _: Value = pipeline.custom(by_slot("WAIT", keys), wait.to_vec()).await?;
            let mut answers = pipeline.try_all::<Value>().await.into_iter();
            let nothing = || Err(Error::new(ErrorKind::Unknown, "no answer"));
            Ok((answers.next().unwrap_or_else(nothing)?, answers.next().unwrap_or_else(nothing)))
        };
        match send("EVALSHA", &self.hash).await {
            Err(error) if unknown_script(&error) => send("EVAL", self.text).await,
            other => other,
        }
    }
}

/// What a script says of each of so many: its answer, or in a list of one why it was refused. `None` if it
/// says anything else.
pub(super) fn each(answers: Value, count: usize) -> Option<Vec<Result<Value, Error>>> {
    let of_one = |answer| match answer {
        Value::Array(refused) => {
            let text = refused.into_iter().next().and_then(Value::into_string).unwrap_or_default();
            Err(Error::new(ErrorKind::Unknown, text))
        }
        answer => Ok(answer),
    };
    match answers {
        Value::Array(answers) if answers.len() == count => Some(answers.into_iter().map(of_one).collect()),
        _ => None,
    }
}

/// A command for the node of a Cluster that has these keys, also where it names none.
fn by_slot(command: &'static str, keys: &[String]) -> CustomCommand {
    let slot = keys.first().map_or(ClusterHash::Random, |key| ClusterHash::Custom(redis_keyslot(key.as_bytes())));
    CustomCommand::new_static(command, slot, false)
}

fn words(text: &str, keys: &[String], arguments: &[Value]) -> Vec<Value> {
    let (number, keys) = (Value::from(keys.len().to_string()), keys.iter().map(|key| key.as_str().into()));
    [text.into(), number].into_iter().chain(keys).chain(arguments.iter().cloned()).collect()
}

fn unknown_script(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_answer_for_each_is_none_for_any() {
        let refused = |text: Vec<Value>| Value::Array(text);
        let answers = Value::Array(vec![Value::Null, "1 2".into(), refused(vec!["OOM".into()]), refused(Vec::new())]);
        let told = each(answers.clone(), 4).expect("one for each");
        assert!(matches!(&told[..2], [Ok(Value::Null), Ok(Value::String(_))]));
        let texts: Vec<_> = told[2..].iter().map(|refused| refused.as_ref().map_err(Error::details)).collect();
        assert_eq!(texts, [Err("OOM"), Err("")]);
        assert!(each(answers, 3).is_none() && each(Value::Null, 0).is_none() && each("1 2".into(), 1).is_none());
    }
}
