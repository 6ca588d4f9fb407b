//! The service on each of its stores: makes the calls of `rows`, each beside its limit.

use std::time::Duration;

use token_authority::domain::algorithm::Algorithm;
use tonic::transport::Endpoint as Address;

use crate::callers::{
    self, CLIENT, Each, INTROSPECT, INTROSPECT_MANY, ISSUE, Issue, REFRESH, REVOKE, Refresh, Repeat, anything,
    first_is_active, is_active,
};
use crate::collector::Collector;
use crate::cores::CORES;
use crate::load::{self, CALLERS, Measured, Pace};
use crate::parts::Parts;
use crate::process::Process;
use crate::rows::{Call, ROWS, Spec, Start};
use crate::sessions::precise;
use crate::stores::{self, Backing, Stores};
use crate::table::{Limit, Row, Section};
use crate::wire::Endpoint;
use crate::{Failure, local};

/// Of the store on each backing.
const PREFIX: &str = "ta";
/// How the names of the threads begin that sign.
const SIGNERS: &str = "sign-";
/// Where the default realm publishes its keys.
const KEY_SET: &str = "/.well-known/jwks.json";
/// In one request, and how many ask for so much at once: the server takes 32 such calls at a time.
const BATCH: usize = 100;
const BATCH_CALLERS: usize = 16;

/// How many tokens there are at least for a second of measuring a server that has not seen them: each serves once.
const NEW_A_SECOND: f64 = 20_000.0;
/// Of the tokens that a server has not seen, this part has it load its own pages: they are not to be measured.
const WARMING: usize = 4;

/// What is known from one round to the next.
pub(crate) struct Service<'a> {
    stores: &'a Stores,
    time: Duration,
    wanted: Vec<&'static Spec>,
    stock: Vec<Stock>,
}

/// What was issued on one store by one algorithm.
struct Stock {
    backing: Backing,
    algorithm: Algorithm,
    tokens: Vec<String>,
    /// One refresh token a caller.
    chains: Vec<String>,
}

impl<'a> Service<'a> {
    pub(crate) fn new(stores: &'a Stores, only: &str, time: Duration) -> Self {
        let wanted = ROWS.iter().filter(|spec| spec.name().to_lowercase().contains(only)).collect();
        Self { stores, time, wanted, stock: Vec::new() }
    }

    /// Measures every row once.
    pub(crate) async fn round(&mut self, parts: &mut Parts<'_>) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        for backing in Backing::ALL {
            let here: Vec<_> = self.wanted.iter().copied().filter(|spec| spec.backing == backing).collect();
            for start in Start::ALL {
                let of_start = |spec: &&&Spec| start == Start::Plain || spec.start() == start;
                let specs: Vec<_> = here.iter().filter(of_start).collect();
                if specs.is_empty() {
                    continue;
                }
                let (server, time) = (self.start(backing, start).await?, self.time);
                for spec in specs {
                    let stock = self.stock(&server, spec).await?;
                    if spec.start() == start {
                        let half = if spec.at_half_load { parts.echo_at_half_load(spec.limit).await? } else { None };
                        if spec.floor.is_some() {
                            parts.forget(spec.limit);
                        }
                        let limit = parts.limit(spec.limit).await?;
                        rows.push(row(&server, spec, stock, (limit, half), time).await?);
                    }
                }
            }
        }
        Ok(rows)
    }

    async fn start(&self, backing: Backing, start: Start) -> Result<Process, Failure> {
        let collector = match start {
            Start::Traced => vec![format!("--otlp-endpoint={}", Collector::start().await.endpoint())],
            Start::Plain | Start::Fresh | Start::SignersApart => Vec::new(),
        };
        let store = self.stores.url(backing, PREFIX).await?;
        let server = Process::authority(self.stores.directory(), &store, &collector).await?;
        if start == Start::SignersApart {
            CORES.move_others_apart(server.id(), SIGNERS)?;
        }
        Ok(server)
    }

    /// What there is for a row; issued now, if it is the first one.
    async fn stock(&mut self, server: &Process, spec: &Spec) -> Result<&mut Stock, Failure> {
        let (backing, algorithm) = (spec.backing, spec.algorithm);
        let there = self.stock.iter().position(|stock| (stock.backing, stock.algorithm) == (backing, algorithm));
        let position = match there {
            Some(position) => position,
            None => {
                let mut stock = Stock { backing, algorithm, tokens: Vec::new(), chains: Vec::new() };
                stock.issue(server, Pace::Closed, self.time / 2).await?;
                self.stock.push(stock);
                self.stock.len() - 1
            }
        };
        let stock = &mut self.stock[position];
        let new = if spec.call == Call::IntrospectFirstTime { self.time.as_secs_f64() * NEW_A_SECOND } else { 0.0 };
        while precise(stock.tokens.len() as u64) < new {
            stock.issue(server, Pace::Closed, self.time).await?;
        }
        Ok(stock)
    }
}

/// One measurement, and where it is asked for another at half the rate.
async fn row(
    server: &Process,
    spec: &Spec,
    stock: &mut Stock,
    (limit, echo_at_half_load): (Limit, Option<Measured>),
    time: Duration,
) -> Result<Row, Failure> {
    let measured = stock.measure(server, spec.call, Pace::Closed, time).await?;
    let row = Row::new(Section::Service, spec.name(), measured).against(limit, spec.floor);
    let row = if spec.call == Call::IntrospectBatch { row.tokens(precise(BATCH as u64)) } else { row };
    let row = row.resident(server.resident());
    if !spec.at_half_load {
        return Ok(row);
    }
    let pace = Pace::Open { per_second: measured.per_second / 2.0 };
    Ok(row.at_half_load(stock.measure(server, spec.call, pace, time).await?, echo_at_half_load))
}

impl Stock {
    async fn measure(&mut self, server: &Process, call: Call, pace: Pace, time: Duration) -> Result<Measured, Failure> {
        let realm = realm(self.algorithm);
        let token = self.tokens.last().ok_or("nothing was issued")?;
        let grpc = |request| (Endpoint::grpc(INTROSPECT), Repeat::new(request, is_active));
        let (endpoint, caller) = match call {
            Call::Issue => return self.issue(server, pace, time).await,
            Call::Refresh => return self.refresh(server, pace, time).await,
            Call::Revoke => return self.revoke(server, pace, time).await,
            Call::IntrospectFirstTime => {
                let (first, others) = self.tokens.split_at(self.tokens.len() / WARMING);
                let callers = |tokens: &[String]| {
                    Each::of(tokens.iter().map(|token| callers::introspect(realm, token)), is_active)
                };
                let endpoint = Endpoint::grpc(INTROSPECT);
                load::run(server, &endpoint, callers(first), Pace::Closed, time).await?;
                return Ok(load::run(server, &endpoint, callers(others), pace, time).await?.0);
            }
            Call::LocalKnown | Call::LocalFirstTime => {
                let channel = Address::from_shared(format!("http://{}", server.grpc))?.connect().await?;
                let verifier = local::verifier(channel, realm, token).await?;
                return Ok(match call {
                    Call::LocalKnown => local::known(&verifier, token, time / 3),
                    _ => local::first(&verifier, &self.tokens[..self.tokens.len() - 1], time),
                });
            }
            Call::IntrospectKnown | Call::IntrospectTraced => grpc(callers::introspect(realm, token)),
            Call::IntrospectAsClient => {
                let endpoint = Endpoint::grpc(INTROSPECT).authorized(&stores::authorization());
                (endpoint, Repeat::new(callers::introspect(realm, token), is_active))
            }
            Call::IntrospectConsistently => grpc(callers::introspect_consistently(realm, token)),
            Call::IntrospectBatch => {
                let batch = callers::introspect_many(realm, &self.tokens[..BATCH.min(self.tokens.len())]);
                (Endpoint::grpc(INTROSPECT_MANY), Repeat::new(batch, first_is_active))
            }
            Call::KeySet => {
                (Endpoint::http(KEY_SET), Repeat::new("".into(), |answer| answer.starts_with(br#"{"keys""#)))
            }
        };
        let callers = vec![caller; if call == Call::IntrospectBatch { BATCH_CALLERS } else { CALLERS }];
        load::run(server, &endpoint, callers.clone(), Pace::Closed, time / 5).await?;
        Ok(load::run(server, &endpoint, callers, pace, time).await?.0)
    }

    async fn issue(&mut self, server: &Process, pace: Pace, time: Duration) -> Result<Measured, Failure> {
        let (measured, issuers) = issue(server, realm(self.algorithm), pace, time).await?;
        self.chains = issuers.iter().map(|issuer| issuer.refresh_token.clone()).collect();
        self.tokens.extend(issuers.into_iter().flat_map(|issuer| issuer.issued));
        Ok(measured)
    }

    async fn refresh(&mut self, server: &Process, pace: Pace, time: Duration) -> Result<Measured, Failure> {
        let chains = Refresh::all(realm(self.algorithm), self.chains.drain(..));
        let (measured, chains) = load::run(server, &Endpoint::grpc(REFRESH), chains, pace, time).await?;
        for chain in chains {
            self.chains.extend(chain.chains);
            self.tokens.extend(chain.issued);
        }
        Ok(measured)
    }

    /// Sessions that are opened for it.
    async fn revoke(&self, server: &Process, pace: Pace, time: Duration) -> Result<Measured, Failure> {
        let realm = realm(self.algorithm);
        let (_, issuers) = issue(server, realm, Pace::Closed, time).await?;
        let tokens = issuers.into_iter().flat_map(|issuer| issuer.issued);
        let callers = Each::of(tokens.map(|token| callers::revoke(realm, &token)), anything);
        Ok(load::run(server, &Endpoint::grpc(REVOKE), callers, pace, time).await?.0)
    }
}

async fn issue(
    server: &Process,
    realm: &'static str,
    pace: Pace,
    time: Duration,
) -> Result<(Measured, Vec<Issue>), Failure> {
    load::run(server, &Endpoint::grpc(ISSUE), Issue::all(realm, CLIENT), pace, time).await
}

/// The realm that signs by this algorithm.
pub(crate) fn realm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "es256",
        Algorithm::EdDsa => "eddsa",
        _ => "default",
    }
}
