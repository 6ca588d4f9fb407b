//! What the script of commits costs a Redis that does nothing else: `redis-benchmark` sends it, each time for
//! other records. Whatever its clients do, a Redis makes no more of them.

use std::process::Command;
use std::time::Duration;

use crate::cores::CORES;
use crate::load::{CALLERS, Measured};
use crate::redis_server::{RedisServer, Reply};
use crate::scale::Busy;
use crate::sessions::precise;
use crate::{Failure, stores};

/// As the store sends it.
const SCRIPT: &str = include_str!("../../src/store/redis/commit.lua");
/// Becomes a number of twelve digits, another one each time.
const RANDOM: &str = "__rand_int__";
/// Of which there are enough that hardly a record is written twice.
const RECORDS: &str = "2000000000";
/// A first measurement, to know how many a second are.
const FEW: f64 = 5_000.0;

/// Commits of new records for about so long, so many at once; the processor time is that of Redis.
pub(crate) async fn commits(at_once: u64, time: Duration) -> Result<Measured, Failure> {
    let redis = RedisServer::start_with(&stores::DURABLE).await;
    let Reply::Bytes(Some(hash)) = redis.run(&["SCRIPT", "LOAD", SCRIPT]) else {
        return Err("Redis does not take the script".into());
    };
    let hash = String::from_utf8(hash)?;
    let per_second = send(&redis, &hash, at_once, FEW)?;
    let count = (per_second * time.as_secs_f64()).round().max(FEW);
    let before = Busy::of(&redis)?;
    let per_second = send(&redis, &hash, at_once, count)?;
    let busy = before.since(&redis)? / count;
    match redis.run(&["DBSIZE"]) {
        Reply::Integer(records) if precise(records.try_into()?) > 0.99 * (FEW + count) => {}
        other => return Err(format!("{other:?} records of {count}: not each commit wrote one").into()),
    }
    Ok(Measured { per_second, cpu: Some(Duration::from_secs_f64(busy)), ..Measured::default() })
}

/// How many a second.
fn send(redis: &RedisServer, hash: &str, at_once: u64, count: f64) -> Result<f64, Failure> {
    let (port, callers, scripts) = (redis.port().to_string(), CALLERS.to_string(), (count / precise(at_once)).ceil());
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &port, "-c", &callers, "-n", &scripts.to_string(), "-r", RECORDS, "--csv", "EVALSHA", hash]);
    command.arg((4 * at_once).to_string());
    // Each number is another one wherever it stands.
    let id = format!("id-{RANDOM}-");
    for _ in 0..at_once {
        command.arg(format!("b:{{1}}:s:bench:{id}")).args(["b:{1}:log", "b:{1}:head"]);
        command.arg(format!("b:{{1}}:w:s:bench:{id}"));
    }
    // Version, expiry, content: its bytes say nothing to the script but how many they are.
    let record = format!("{id}{}", "x".repeat(8 + stores::RECORD_BYTES));
    command.arg("b:log");
    for _ in 0..at_once {
        command.args([&id, "", "1", &record, "3600000", "1", "0", "0"]);
    }
    let output = CORES.as_server(|| command.output()).map_err(|error| format!("redis-benchmark: {error}"))?;
    let text = String::from_utf8(output.stdout)?;
    // "name","requests a second",…
    let rate =
        text.lines().last().and_then(|line| line.split("\",\"").nth(1)).and_then(|rate| rate.parse::<f64>().ok());
    let rate = rate.ok_or_else(|| format!("redis-benchmark: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(rate * precise(at_once))
}
