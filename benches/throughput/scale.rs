//! Whether the arithmetic of `needs` holds: costs are measured with some sessions on a Redis, fifty times
//! as many are predicted from them, and then opened and measured. Only when asked for by name.

use std::time::Duration;

use prost::Message as _;
use token_authority::proto::v1::WatchRevocationsRequest;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::proto::v1::watch_revocations_response::Event;

use crate::callers::{self, CLIENT, Each, ISSUE, Issue, REVOKE};
use crate::load::{self, Measured, Pace};
use crate::needs::{Costs, Processor};
use crate::process::Process;
use crate::redis_fleet::{field, until};
use crate::redis_server::{RedisServer, Reply};
use crate::sessions::{Used, fill, precise, used_memory};
use crate::stores::{DURABLE, Stores};
use crate::wire::Endpoint;
use crate::{Failure, REALM};

/// The part of all sessions from which the rest is predicted: 100,000 of five million.
const BASIS: u64 = 50;
/// Around the message of an entry, on the wire: gRPC's prefix and the head of a frame.
const FRAMING: usize = 5 + 9;
/// Of the store in a Redis.
const PREFIX: &str = "scale";
const PARTITIONS: u16 = 256;

/// Costs, and what was found at either size.
pub(crate) struct Scale {
    pub(crate) costs: Costs,
    pub(crate) basis: Found,
    pub(crate) large: Found,
}

/// At one size.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) sessions: u64,
    pub(crate) session_bytes: f64,
    pub(crate) refresh: Measured,
    pub(crate) introspect: Measured,
    /// Memory of the server, in MiB.
    pub(crate) resident: Option<f64>,
}

/// Opens that many sessions.
pub(crate) async fn run(stores: &Stores, sessions: u64, rounds: usize, time: Duration) -> Result<Scale, Failure> {
    let redis = &node().await;
    let url = redis.url(PREFIX).replace("redis://", "redis-cluster://");
    let server = Process::authority(stores.directory(), &url, &[]).await?;
    let empty = used_memory(redis)?;
    let found = async |size: u64, used: &mut Used| {
        let session_bytes = (used_memory(redis)? - empty) / precise(size);
        let mut measured = Vec::new();
        for _ in 0..rounds {
            measured.push(used.measure(&server, time).await?);
        }
        let [refresh, introspect] = median(&measured);
        Ok::<_, Failure>(Found { sessions: size, session_bytes, refresh, introspect, resident: server.resident() })
    };
    let few = sessions / BASIS;
    let mut used = Used::new(fill(&server, 0..few).await?);
    let basis = found(few, &mut used).await?;
    let costs = costs(&server, redis, &basis, &mut used, time).await?;
    let mut used = Used::new(fill(&server, few..sessions).await?);
    Ok(Scale { costs, basis, large: found(sessions, &mut used).await? })
}

/// A Cluster of one node. What leaves for a Redis alone as one script leaves for a Cluster one by one, unless it
/// is of one slot: so it is where more than one Redis is needed.
async fn node() -> RedisServer {
    let options = [&DURABLE[..], &["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]].concat();
    let redis = RedisServer::start_with(&options).await;
    redis.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    until(|| field(&redis.run(&["CLUSTER", "INFO"]), "cluster_state") == "ok").await;
    redis
}

async fn costs(
    server: &Process,
    redis: &RedisServer,
    found: &Found,
    used: &mut Used,
    time: Duration,
) -> Result<Costs, Failure> {
    let processor = |measured: Measured, redis| Processor { authority: seconds(measured), redis };
    let before = Busy::of(redis)?;
    let [refreshed, introspected] = used.measure(server, time).await?;
    let refresh = processor(refreshed, before.a_call(redis, refreshed, time)?);

    let before = Busy::of(redis)?;
    let (issued, issuers) =
        load::run(server, &Endpoint::grpc(ISSUE), Issue::all(REALM, CLIENT), Pace::Closed, time).await?;
    let issue = processor(issued, before.a_call(redis, issued, time)?);

    let tokens: Vec<_> = issuers.into_iter().flat_map(|issuer| issuer.issued).collect();
    let revocations = tokens.len();
    let mut client = TokenServiceClient::connect(format!("http://{}", server.grpc)).await?;
    let request = WatchRevocationsRequest { realm: REALM.to_owned(), ..Default::default() };
    let mut feed = client.watch_revocations(request).await?.into_inner();
    let complete = |event: &Option<Event>| matches!(event, Some(Event::Snapshot(snapshot)) if snapshot.complete);
    while !complete(&feed.message().await?.ok_or("the feed ended")?.event) {}
    let before = Busy::of(redis)?;
    let callers = Each::of(tokens.iter().map(|token| callers::revoke(REALM, token)), callers::anything);
    let (revoked, _) = load::run(server, &Endpoint::grpc(REVOKE), callers, Pace::Closed, 60 * time).await?;
    let took = Duration::from_secs_f64(precise(revocations as u64) / revoked.per_second);
    let revoke = processor(revoked, before.a_call(redis, revoked, took)?);
    let (mut entries, mut bytes) = (0, 0);
    while entries < revocations {
        let message = feed.message().await?.ok_or("the feed ended")?;
        if let Some(Event::Delta(delta)) = &message.event {
            entries += delta.entries.len();
            bytes += message.encoded_len() + FRAMING;
        }
    }
    Ok(Costs {
        session: found.session_bytes,
        log_entry: log_entry(redis)?,
        feed_entry: precise(bytes as u64) / precise(entries as u64),
        issue,
        refresh,
        revoke,
        introspect: seconds(introspected),
    })
}

/// The one in the middle of each, by rate.
fn median(all: &[[Measured; 2]]) -> [Measured; 2] {
    [0, 1].map(|of| {
        let mut sorted: Vec<_> = all.iter().map(|measured| measured[of]).collect();
        sorted.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
        sorted[sorted.len() / 2]
    })
}

/// Bytes of an entry in the log of a partition.
fn log_entry(redis: &RedisServer) -> Result<f64, Failure> {
    let (mut bytes, mut entries) = (0, 0);
    for partition in 0..PARTITIONS {
        let log = format!("{PREFIX}:{{{partition}}}:log");
        if let Reply::Integer(used) = redis.run(&["MEMORY", "USAGE", &log, "SAMPLES", "0"]) {
            bytes += used;
        }
        if let Reply::Integer(count) = redis.run(&["ZCARD", &log]) {
            entries += count;
        }
    }
    Ok(precise(bytes.try_into()?) / precise(entries.try_into()?))
}

fn seconds(measured: Measured) -> f64 {
    measured.cpu.unwrap_or_default().as_secs_f64()
}

/// Processor time of a Redis so far, in seconds.
pub(crate) struct Busy(f64);

impl Busy {
    pub(crate) fn of(redis: &RedisServer) -> Result<Self, Failure> {
        let info = redis.run(&["INFO", "cpu"]);
        let [user, system] = ["used_cpu_user", "used_cpu_sys"].map(|name| field(&info, name).parse::<f64>());
        Ok(Self(user? + system?))
    }

    pub(crate) fn since(&self, redis: &RedisServer) -> Result<f64, Failure> {
        Ok(Self::of(redis)?.0 - self.0)
    }

    /// Seconds since then for each call.
    fn a_call(&self, redis: &RedisServer, measured: Measured, time: Duration) -> Result<f64, Failure> {
        Ok(self.since(redis)? / (measured.per_second * time.as_secs_f64()))
    }
}
