//! Two other token services (`bench/peers`) beside this one: same machine, same cores, same Redis, same
//! algorithm and size of keys, the same callers. Each serves its own kind of token in its own best way.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use token_authority::domain::algorithm::Algorithm;

use crate::Failure;
use crate::callers::{self, INTROSPECT, ISSUE, Issue, REFRESH, Refresh, Repeat, is_active};
use crate::cores::CORES;
use crate::forms::{self, RefreshForm};
use crate::load::{self, CALLERS, Caller, Measured, Pace};
use crate::process::{Addresses, Process};
use crate::service::realm;
use crate::stores::{self, Backing, Stores};
use crate::table::{Row, Section};
use crate::wire::Endpoint;

/// What is compared: which services know the algorithm, and whether introspection depends on it.
const COMPARED: [(Algorithm, &[&str], bool); 2] =
    [(Algorithm::Rs256, &["oidc-provider", "express"], true), (Algorithm::EdDsa, &["oidc-provider"], false)];

/// As our rows are named.
pub(crate) const OURS: &str = "this service, gRPC";

/// Introspection and refresh of each, once.
pub(crate) async fn round(stores: &Stores, time: Duration) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (algorithm, peers, introspect) in COMPARED {
        let name = |call: &str, service: &str| format!("{call} {}: {service}", algorithm.name());
        let ours = ours(stores, algorithm, time).await?;
        let mut theirs = Vec::new();
        for peer in peers {
            theirs.push((peer, Peer::start(peer, stores, algorithm).await?.measure(time).await?));
        }
        for (call, of) in [("introspect", 0), ("refresh", 1)].into_iter().filter(|(_, of)| introspect || *of == 1) {
            let (grpc, http) = ours[of];
            let row = |service: &str, measured| Row::new(Section::Peers, name(call, service), measured);
            rows.push(row(OURS, grpc));
            rows.push(row("this service, HTTP/1.1", http));
            rows.extend(
                theirs.iter().map(|(peer, (measured, resident))| {
                    row(peer, measured[of]).compared_with(http).resident(*resident)
                }),
            );
        }
    }
    Ok(rows)
}

/// This service's introspection and refresh, each over gRPC and over HTTP/1.1.
async fn ours(stores: &Stores, algorithm: Algorithm, time: Duration) -> Result<[(Measured, Measured); 2], Failure> {
    let url = stores.url(Backing::Redis, "compared").await?;
    let server = Process::authority(stores.directory(), &url, &[]).await?;
    let prefix = if algorithm == Algorithm::Rs256 { String::new() } else { format!("/realms/{}", realm(algorithm)) };
    let http = |path: &str| Endpoint::http(format!("{prefix}/oauth2/{path}")).authorized(&stores::authorization());
    let grpc = |method: &str| Endpoint::grpc(method).authorized(&stores::authorization());
    let login = async || {
        let issuers = Issue::all(realm(algorithm), stores::CLIENT);
        Ok::<_, Failure>(load::run(&server, &grpc(ISSUE), issuers, Pace::Closed, time / 4).await?.1)
    };
    let (by_grpc, by_http) = (login().await?, login().await?);
    let token = by_http[0].issued.last().ok_or("nothing was issued")?;
    let known = Repeat::new(callers::introspect(realm(algorithm), token), is_active);
    let known = vec![known; CALLERS];
    let introspected = warm(&server, &grpc(INTROSPECT), known, time).await?;
    let posted = warm(&server, &http("introspect"), vec![forms::introspect(token); CALLERS], time).await?;
    let chains = Refresh::all(realm(algorithm), by_grpc.into_iter().map(|issuer| issuer.refresh_token));
    let refreshed = run(&server, &grpc(REFRESH), chains, time).await?;
    let chains = RefreshForm::all(by_http.into_iter().map(|issuer| issuer.refresh_token));
    Ok([(introspected, posted), (refreshed, run(&server, &http("token"), chains, time).await?)])
}

/// Another service.
struct Peer {
    process: Process,
    said: Said,
}

/// The line that it writes once it listens.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    port: u16,
    introspection: String,
    refresh: String,
    authorization: String,
    access_token: String,
    refresh_tokens: Vec<String>,
}

impl Peer {
    async fn start(name: &str, stores: &Stores, algorithm: Algorithm) -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // What the environment has is a script around it, which would not take it along when it ends.
        let wrapped = Command::new(root.join(".venv/bin/node")).args(["-p", "process.execPath"]).output();
        let node = wrapped.map_err(|error| format!("Node.js: {error}; `tests/prepare bench` installs it"))?.stdout;
        let mut command = Command::new(String::from_utf8(node)?.trim_end());
        command.arg(root.join("bench/peers/main.mjs")).arg(name);
        command.args(["--redis", &format!("redis://127.0.0.1:{}", stores.redis().await.port())]);
        command.args(["--algorithm", algorithm.name(), "--workers", &CORES.server.len().to_string()]);
        command.args(["--sessions", &CALLERS.to_string()]);
        command.env("NODE_ENV", "production");
        let started = Process::start(&mut command, stores.directory(), |written| {
            let said: Said = written.lines().find_map(|line| serde_json::from_str(line).ok())?;
            let address = ([127, 0, 0, 1], said.port).into();
            Some((Addresses { grpc: address, http: address }, said))
        });
        let (process, said) = started.await.map_err(|error| format!("{error}\n`tests/prepare bench` installs it"))?;
        Ok(Self { process, said })
    }

    /// Introspection and refresh, and its memory after that.
    async fn measure(self, time: Duration) -> Result<([Measured; 2], Option<f64>), Failure> {
        let endpoint = |path: &str| Endpoint::http(path).authorized(&self.said.authorization);
        let (introspection, refresh) = (endpoint(&self.said.introspection), endpoint(&self.said.refresh));
        let known = vec![forms::introspect(&self.said.access_token); CALLERS];
        let introspected = warm(&self.process, &introspection, known, time).await?;
        let refreshed = run(&self.process, &refresh, RefreshForm::all(self.said.refresh_tokens), time).await?;
        Ok(([introspected, refreshed], self.process.resident()))
    }
}

/// Gives a compiler that works at run time the time to do so.
async fn warm(
    server: &Process,
    endpoint: &Endpoint,
    callers: Vec<Repeat>,
    time: Duration,
) -> Result<Measured, Failure> {
    run(server, endpoint, callers.clone(), time / 2).await?;
    run(server, endpoint, callers, time).await
}

async fn run<C: Caller>(
    server: &Process,
    endpoint: &Endpoint,
    callers: Vec<C>,
    time: Duration,
) -> Result<Measured, Failure> {
    Ok(load::run(server, endpoint, callers, Pace::Closed, time).await?.0)
}
