//! The service on a Redis of its own: refreshes beside what their parts cost, what a session takes in
//! memory, and how often a refresh asks Redis. Judges nothing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use token_authority::domain::algorithm::Algorithm;

use crate::callers::{Few, Issue, Login, Refresh};
use crate::load::CALLERS;
use crate::process::Process;
use crate::table::{Limit, Row};
use crate::{Failure, ISSUE, REFRESH, REFRESHING, fresh_name, limits, load, measure_echo};

/// The default realm, but for a signature that takes less time than storing.
const DEFAULT_REALM: &str = "[realm]\nname = \"default\"\nalgorithm = \"EdDSA\"\n";
/// Of what the row is about, for `--only`.
pub(crate) const REFRESHES: &str = "refresh EdDSA on Redis";
/// How many subjects, with two sessions each, stand for many.
const SUBJECTS: u64 = 100_000;
const SESSIONS: u64 = 2 * SUBJECTS;
/// Long enough for all of them on a slow machine.
const FILLED_WITHIN: Duration = Duration::from_secs(300);
/// Refreshes watched one by one.
const WATCHED: usize = 200;

/// Refreshes through Redis, beside a bare call of the same size and each of their parts alone.
pub(crate) async fn refreshes(redis: &Redis, directory: &Path, time: Duration) -> Result<Vec<Row>, Failure> {
    let sign = limits::sign(&limits::key(Algorithm::EdDsa)?, time);
    let tokens = limits::refresh_tokens(time / 2)?;
    let records = limits::sealing(time / 2).await?;
    let commit = limits::load_and_commit(&redis.url("bench"), time).await?;
    let echo = {
        let server = Process::echo(directory).await?;
        let channels = load::connect(server.grpc).await?;
        measure_echo(&server, &channels, REFRESHING, time).await?
    };
    let server = Process::authority_on(directory, &redis.url("ta")).await?;
    let channels = load::connect(server.grpc).await?;
    let issuers: Vec<_> = (0..CALLERS).map(|n| Issue::new("eddsa", fresh_name(n))).collect();
    let (_, issuers) = load::run(&server, &channels, ISSUE, issuers, time / 4).await?;
    let chains = issuers.into_iter().map(|issuer| Refresh::new("eddsa", issuer.refresh_token)).collect();
    let (refreshed, _) = load::run(&server, &channels, REFRESH, chains, time).await?;
    let parts = [echo, sign, tokens, records, commit];
    let limit = Limit::of("echo + signing + sealing + load, commit", &parts).with_floor(Some(0.6));
    Ok(vec![
        Row::limit("echo, sizes of refresh", echo),
        Row::limit("signing EdDSA", sign),
        Row::limit("refresh token opened, sealed", tokens),
        Row::limit("record opened, sealed", records),
        Row::limit("Redis load, commit: client", commit),
        Row::measured(REFRESHES.to_owned(), refreshed, limit, server.id()),
    ])
}

/// What a session takes in Redis, and how often a refresh asks: lines for people.
pub(crate) async fn footprint(directory: &Path) -> Result<Vec<String>, Failure> {
    // What it holds in memory is asked, and no busy disk is to hold it up.
    let redis = Redis::start(directory, "no").await?;
    std::fs::write(directory.join("realms/default.toml"), DEFAULT_REALM)?;
    let server = Process::authority_on(directory, &redis.url("ta")).await?;
    let channels = load::connect(server.grpc).await?;
    let next = Arc::new(AtomicU64::new(0));
    let before = redis.number("memory", "used_memory")?;
    let logins = (0..CALLERS).map(|_| Login::new("default", next.clone(), SESSIONS)).collect();
    load::run(&server, &channels, ISSUE, logins, FILLED_WITHIN).await?;
    let filled = next.load(Ordering::Relaxed).min(SESSIONS);
    let bytes = (redis.number("memory", "used_memory")? - before) / filled.max(1);
    let one = redis.one_record()?;

    let (_, issuers) =
        load::run(&server, &channels, ISSUE, vec![Issue::new("eddsa", fresh_name(0))], Duration::from_millis(1))
            .await?;
    let chain = issuers.into_iter().map(|issuer| Few::new(Refresh::new("eddsa", issuer.refresh_token), WATCHED));
    let monitor = redis.monitor()?;
    load::run(&server, &channels, REFRESH, chain.collect(), FILLED_WITHIN).await?;
    let asked = redis.asked_of_subjects(monitor)?;
    Ok(vec![
        format!("{bytes} bytes in Redis a session: {SUBJECTS} subjects, {filled} sessions (goal: at most 220); {one}"),
        format!("{:.2} round trips to Redis a refresh (goal: at most 2)", f64::from(asked) / f64::from(count(WATCHED))),
    ])
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A `redis-server` of this program's, ended when dropped.
pub(crate) struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// With an AOF, synced as `appendfsync` says.
    pub(crate) async fn start(directory: &Path, sync: &str) -> Result<Self, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let own = directory.join(format!("redis-{port}"));
        std::fs::create_dir(&own)?;
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", sync, "--dir"])
            .arg(own)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server can't be started ({error}): `make test` installs it"))?;
        let mut redis = Self { child, port };
        while redis.ask("PING").is_err() {
            if let Some(ended) = redis.child.try_wait()? {
                return Err(format!("redis-server ended: {ended}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(redis)
    }

    pub(crate) fn url(&self, prefix: &str) -> String {
        format!("redis://127.0.0.1:{}?prefix={prefix}", self.port)
    }

    /// A field of INFO.
    fn number(&self, section: &str, field: &str) -> Result<u64, Failure> {
        let info = self.ask(&format!("INFO {section}"))?;
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.ok_or("INFO lacks a field")?.trim_end().parse()?)
    }

    /// What Redis says of the memory of one subject's record.
    fn one_record(&self) -> Result<String, Failure> {
        loop {
            let key = self.ask("RANDOMKEY")?;
            if key.contains("}:s:") {
                let (length, memory) = (self.ask(&format!("STRLEN {key}"))?, self.ask(&format!("MEMORY USAGE {key}"))?);
                return Ok(format!(
                    "a record of two: a key of {} bytes, a value of {length}, {memory} in all",
                    key.len()
                ));
            }
        }
    }

    fn monitor(&self) -> Result<BufReader<TcpStream>, Failure> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"MONITOR\r\n")?;
        let mut lines = BufReader::new(stream);
        lines.read_line(&mut String::new())?;
        Ok(lines)
    }

    /// How many commands on subjects' records clients sent since; what a script does is part of it.
    fn asked_of_subjects(&self, mut monitor: BufReader<TcpStream>) -> Result<u32, Failure> {
        self.ask("ECHO that-was-all")?;
        let (mut line, mut asked) = (String::new(), 0);
        while !line.contains("that-was-all") {
            line.clear();
            monitor.read_line(&mut line)?;
            asked += u32::from(line.contains("}:s:") && !line.contains(" lua] "));
        }
        Ok(asked)
    }

    /// One command, its answer as text.
    fn ask(&self, command: &str) -> Result<String, Failure> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some(length) = line.strip_prefix('$') else {
            return match line.split_at_checked(1) {
                Some(("+" | ":", rest)) => Ok(rest.trim_end().to_owned()),
                _ => Err(line.into()),
            };
        };
        let mut bytes = vec![0; length.trim_end().parse()?];
        reader.read_exact(&mut bytes)?;
        Ok(String::from_utf8(bytes)?)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
