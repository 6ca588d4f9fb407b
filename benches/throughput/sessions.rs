//! The service as sessions become many: throughput at a thousand, a hundred thousand and a million, what a
//! session takes in memory, and what the process itself takes.

use std::time::Duration;

use token_authority::proto::v1::TokenPair;

use crate::callers::{self, CLIENT, Each, Few, INTROSPECT, ISSUE, Issue, Login, REFRESH, Refresh, is_active};
use crate::load::{self, Measured, Pace};
use crate::process::{BINARY, Process};
use crate::redis_fleet::field;
use crate::redis_server::RedisServer;
use crate::stores::{Backing, DURABLE, Stores};
use crate::table::{Bound, Figure, Limit, Row, Section, number};
use crate::wire::Endpoint;
use crate::{Failure, REALM};

/// Of the store that grows.
const PREFIX: &str = "growth";
/// Of the one beside it.
const SMALL: &str = "small";
/// Long enough for a million on a slow machine.
pub(crate) const FILLED_WITHIN: Duration = Duration::from_secs(3600);
/// How many of them are used, spread over all.
const USED: u64 = 1_000;
/// Refreshes watched one by one.
const WATCHED: usize = 200;
/// Not enough to see what a session takes.
const FEW: u64 = 50_000;
/// What a session may take in Redis, and what a server may with so many.
const A_SESSION: Bound = Bound::AtMost(220.0);
const A_SERVER: (u64, Bound) = (100_000, Bound::AtMost(150.0));

/// Measures at each size, so many times.
pub(crate) async fn grow(
    stores: &Stores,
    backing: Backing,
    sizes: &[u64],
    (rounds, time): (usize, Duration),
) -> Result<(Vec<Vec<Row>>, Vec<Figure>), Failure> {
    let (mut rounds_of_rows, mut figures) = (Vec::new(), Vec::new());
    let url = stores.url(backing, PREFIX).await?;
    let start = || Process::authority(stores.directory(), &url, &[]);
    drop(start().await?);
    let mut server = start().await?;
    if backing == Backing::Embedded {
        figures.extend(process(&server)?);
    }
    let empty = held(stores, backing, &server).await?;
    let mut small = Small::open(stores, backing, sizes[0]).await?;
    let mut from = 0;
    for size in sizes {
        let mut used = Used::new(fill(&server, from..*size).await?);
        let bytes = (held(stores, backing, &server).await? - empty) / precise(*size);
        figures.extend(memory(backing, *size, bytes, &server));
        // By turns, so that what the machine does meanwhile is done to both; what a growth left behind, to neither.
        small.used.measure(&small.server, time / 5).await?;
        for round in 0..rounds {
            let of_small = async |small: &mut Small| small.used.measure(&small.server, time).await;
            let (measured, least) = if round % 2 == 0 {
                let least = of_small(&mut small).await?;
                (used.measure(&server, time).await?, least)
            } else {
                (used.measure(&server, time).await?, of_small(&mut small).await?)
            };
            rounds_of_rows.push(rows(backing, *size, measured, (sizes[0], least), &server));
        }
        from = *size;
    }
    if backing == Backing::Embedded {
        drop(server);
        server = start().await?;
        let name = format!("start to ready, with {} sessions", number(Some(precise(from)), 0));
        figures.push(Figure::new(name, server.ready_after.as_secs_f64() * 1e3, "ms"));
    } else {
        figures.push(round_trips(&server, stores.redis().await).await?);
    }
    Ok((rounds_of_rows, figures))
}

/// A store of its own with a server, which stays small while the other grows.
struct Small {
    server: Process,
    used: Used,
    _redis: Option<RedisServer>,
}

impl Small {
    async fn open(stores: &Stores, backing: Backing, sessions: u64) -> Result<Self, Failure> {
        let redis = if backing == Backing::Redis { Some(RedisServer::start_with(&DURABLE).await) } else { None };
        let url = match &redis {
            Some(redis) => redis.url(SMALL),
            None => stores.url(backing, SMALL).await?,
        };
        let server = Process::authority(stores.directory(), &url, &[]).await?;
        let used = Used::new(fill(&server, 0..sessions).await?);
        Ok(Self { server, used, _redis: redis })
    }
}

/// Of the process alone.
fn process(server: &Process) -> Result<Vec<Figure>, Failure> {
    let binary = precise(std::fs::metadata(BINARY)?.len()) / 1e6;
    let ready = server.ready_after.as_secs_f64() * 1e3;
    let mut figures = vec![
        Figure::new("binary, stripped", binary, "MB").bound(Bound::AtMost(25.0)),
        Figure::new("start to ready, with keys", ready, "ms").bound(Bound::AtMost(150.0)),
    ];
    let idle = server.resident().map(|resident| Figure::new("memory when idle", resident, "MiB"));
    figures.extend(idle.map(|idle| idle.bound(Bound::AtMost(30.0))));
    Ok(figures)
}

/// What a session takes at this size, and what the server does, unless there are too few to tell.
fn memory(backing: Backing, size: u64, session: f64, server: &Process) -> Vec<Figure> {
    let (count, place) = (number(Some(precise(size)), 0), place(backing));
    if size < FEW {
        return Vec::new();
    }
    let session = Figure::new(format!("a session{place}, of {count}"), session, "bytes");
    let session = if backing == Backing::Redis { session.bound(A_SESSION) } else { session };
    let server = server.resident().map(|resident| {
        let server = Figure::new(format!("memory of the server{place}, {count} sessions"), resident, "MiB");
        if size == A_SERVER.0 { server.bound(A_SERVER.1) } else { server }
    });
    [session].into_iter().chain(server).collect()
}

fn place(backing: Backing) -> &'static str {
    if backing == Backing::Embedded { ", embedded" } else { backing.name() }
}

fn rows(
    backing: Backing,
    size: u64,
    measured: [Measured; 2],
    (least, first): (u64, [Measured; 2]),
    server: &Process,
) -> Vec<Row> {
    let count = |sessions| number(Some(precise(sessions)), 0);
    let row = |(call, of): (&str, usize)| {
        let name = format!("{call}{}, {} sessions", place(backing), count(size));
        let row = Row::new(Section::Sessions, name, measured[of]).resident(server.resident());
        let limit = Limit::of(format!("another at {}, by turns", count(least)), &first[of..=of]);
        // Of two alike, the ratio says what chance does to it.
        row.against(limit, (size != least).then_some(0.9))
    };
    [("refresh EdDSA", 0), ("introspect", 1)].map(row).into()
}

/// Bytes that the sessions are part of.
async fn held(stores: &Stores, backing: Backing, server: &Process) -> Result<f64, Failure> {
    match backing {
        Backing::Embedded => {
            Ok(server.resident().ok_or("the system doesn't say what memory it holds")? * f64::from(1 << 20))
        }
        _ => used_memory(stores.redis().await),
    }
}

pub(crate) fn used_memory(redis: &RedisServer) -> Result<f64, Failure> {
    Ok(field(&redis.run(&["INFO", "memory"]), "used_memory").parse()?)
}

/// Logs in, two sessions a subject, and keeps some pairs of tokens.
pub(crate) async fn fill(server: &Process, sessions: std::ops::Range<u64>) -> Result<Vec<TokenPair>, Failure> {
    let logins = Login::all(REALM, sessions, USED);
    let (_, logins) = load::run(server, &Endpoint::grpc(ISSUE), logins, Pace::Closed, FILLED_WITHIN).await?;
    Ok(logins.into_iter().flat_map(|login| login.kept).collect())
}

/// Sessions that are used, among those that are only there.
pub(crate) struct Used {
    access_tokens: Vec<String>,
    chains: Vec<Refresh>,
}

impl Used {
    pub(crate) fn new(pairs: Vec<TokenPair>) -> Self {
        let (access_tokens, refresh_tokens): (Vec<_>, Vec<_>) =
            pairs.into_iter().map(|pair| (pair.access_token, pair.refresh_token)).unzip();
        Self { access_tokens, chains: Refresh::all(REALM, refresh_tokens) }
    }

    /// Refreshes, and introspections.
    pub(crate) async fn measure(&mut self, server: &Process, time: Duration) -> Result<[Measured; 2], Failure> {
        let chains = std::mem::take(&mut self.chains);
        let (refreshed, chains) = load::run(server, &Endpoint::grpc(REFRESH), chains, Pace::Closed, time).await?;
        self.chains = chains;
        self.chains.iter_mut().for_each(|chain| chain.issued.clear());
        let each = self.access_tokens.iter().map(|token| callers::introspect(REALM, token));
        let callers = Each::again_and_again(each, is_active);
        load::run(server, &Endpoint::grpc(INTROSPECT), callers.clone(), Pace::Closed, time / 5).await?;
        let (introspected, _) = load::run(server, &Endpoint::grpc(INTROSPECT), callers, Pace::Closed, time).await?;
        Ok([refreshed, introspected])
    }
}

/// How often a refresh asks Redis.
async fn round_trips(server: &Process, redis: &RedisServer) -> Result<Figure, Failure> {
    let one = Issue::all(REALM, CLIENT).into_iter().take(1).map(|issuer| Few::new(issuer, 1)).collect();
    let (_, issuers) = load::run(server, &Endpoint::grpc(ISSUE), one, Pace::Closed, FILLED_WITHIN).await?;
    let chains = issuers.into_iter().map(|issuer| Refresh::new(REALM, issuer.caller.refresh_token));
    let chains = chains.map(|chain| Few::new(chain, WATCHED)).collect();
    let monitor = redis.monitor();
    load::run(server, &Endpoint::grpc(REFRESH), chains, Pace::Closed, FILLED_WITHIN).await?;
    let heard = monitor.heard(redis);
    let said = |line: &&[u8], what: &[u8]| line.windows(what.len()).any(|part| part == what);
    // What a script does is part of the command that ran it.
    let asked = heard.split(|byte| *byte == b'\n').filter(|line| said(line, b"}:s:") && !said(line, b" lua] ")).count();
    let round_trips = precise(asked as u64) / precise(WATCHED as u64);
    Ok(Figure::new("round trips to Redis a refresh", round_trips, "").bound(Bound::AtMost(2.0)))
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than a double counts")]
pub(crate) fn precise(count: u64) -> f64 {
    count as f64
}
