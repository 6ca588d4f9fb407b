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

/// One commit, whole or not at all. Redis undoes nothing that a script did before it failed, so all
/// that can fail stands before the first write.
///
/// Without revocations that first write is refused when memory is full. With them it is a removal,
/// which never is, and what follows a script's first write passes too: on 6.2 as well, where no
/// script can be declared to be allowed that.
const COMMIT: &str = include_str!("commit.lua");

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
