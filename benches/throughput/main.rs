//! Throughput over real connections, each beside its limit in the same run: what one call costs is worth
//! knowing only next to what it must cost on the same cores at the same hour. Judges nothing.
#![allow(clippy::print_stdout, reason = "it prints a table")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use tempfile::TempDir;
use token_authority::domain::algorithm::Algorithm;
use token_authority::signing::key::SigningKey;
use tonic::transport::Channel;

use callers::{Distinct, Issue, Refresh, Repeat};
use load::{CALLERS, CONNECTIONS, Measured};
use process::Process;
use table::{Limit, Row};

mod callers;
mod echo;
mod limits;
mod load;
mod local;
mod process;
mod redis;
mod table;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why nothing was measured.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

const ISSUE: &str = "/token_authority.v1.TokenService/IssueToken";
const REFRESH: &str = "/token_authority.v1.TokenService/RefreshToken";
const INTROSPECT: &str = "/token_authority.v1.TokenService/IntrospectToken";
/// A call and its answer, in bytes of message: introspecting a token of RS256, and refreshing one.
const INTROSPECTION: (usize, usize) = (930, 440);
const REFRESHING: (usize, usize) = (190, 1_200);
/// What is measured for each algorithm on the embedded store.
const ROWS: [&str; 4] = ["issue", "refresh", "introspect known", "introspect first-time"];

/// Measures the service beside its limits
#[derive(Debug, Parser)]
struct Arguments {
    /// How long each measurement takes
    #[arg(long, default_value_t = 1.2)]
    seconds: f64,
    /// How often each is taken, in turn with the others; the table shows medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only rows whose name contains this, and their limits
    #[arg(long, default_value = "")]
    only: String,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Serves instead: given by this program to itself
    #[arg(hide = true)]
    echo_server: Option<String>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores()).enable_all().build()?;
    if arguments.echo_server.is_some() {
        return runtime.block_on(echo::serve()).map_err(|error| error.to_string().into());
    }
    runtime.block_on(bench(&arguments))
}

/// How many threads each of client, server and limits uses.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A realm, and the limits that follow from its algorithm.
struct Subject {
    algorithm: Algorithm,
    realm: &'static str,
    key: SigningKey,
    /// Access tokens so far, to be seen for the first time by another server.
    tokens: Vec<String>,
    /// One refresh token a caller.
    chains: Vec<String>,
}

impl Subject {
    fn wants(&self, row: &str, only: &str) -> bool {
        format!("{row} {}", self.algorithm.name()).contains(only)
    }
}

async fn bench(arguments: &Arguments) -> Result<(), Failure> {
    let time = Duration::from_secs_f64(arguments.seconds);
    let directory = TempDir::new()?;
    fs::create_dir(directory.path().join("realms"))?;
    fs::write(directory.path().join("realms/eddsa.toml"), "[realm]\nname = \"eddsa\"\nalgorithm = \"EdDSA\"\n")?;
    let mut subjects = Vec::new();
    for (algorithm, realm) in [(Algorithm::Rs256, "default"), (Algorithm::EdDsa, "eddsa")] {
        let key = limits::key(algorithm)?;
        subjects.push(Subject { algorithm, realm, key, tokens: Vec::new(), chains: Vec::new() });
    }
    println!(
        "{} cores for everything: server, load generator and limits each run {} threads, unpinned and sharing them.\n\
         {CALLERS} callers on {CONNECTIONS} connections over loopback; {} rounds, {} s a measurement, in turn.\n",
        cores(),
        cores(),
        arguments.rounds,
        arguments.seconds,
    );
    let on_redis = redis::REFRESHES.to_lowercase().contains(&arguments.only.to_lowercase());
    let mut table = table::Table::default();
    for round in 0..arguments.rounds {
        table.add(embedded_round(&mut subjects, round, directory.path(), time, &arguments.only).await?);
        if on_redis {
            let redis = redis::Redis::start(directory.path(), "everysec").await?;
            table.add(redis::refreshes(&redis, directory.path(), time).await?);
        }
    }
    table.print();
    if on_redis {
        redis::footprint(directory.path()).await?.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// Measures everything on the embedded store once, unless nothing of it is wanted.
async fn embedded_round(
    subjects: &mut [Subject],
    round: usize,
    directory: &Path,
    time: Duration,
    only: &str,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let wanted = |subject: &&mut Subject| ROWS.iter().any(|row| subject.wants(row, only));
    let mut wanted = subjects.iter_mut().filter(wanted).peekable();
    if wanted.peek().is_some() {
        let store = limits::commit(&directory.join(format!("raw-{round}")), time).await?;
        rows.push(Row::limit("store commits, no network", store));
        for subject in wanted {
            rows.extend(one_round(subject, store, directory, time, only).await?);
        }
    }
    Ok(rows)
}

/// Measures everything of one realm once.
async fn one_round(
    subject: &mut Subject,
    store: Measured,
    directory: &Path,
    time: Duration,
    only: &str,
) -> Result<Vec<Row>, Failure> {
    let (realm, name) = (subject.realm, subject.algorithm.name());
    let measured: Vec<_> = ROWS.into_iter().filter(|row| subject.wants(row, only)).collect();
    let wanted = |row: &str| measured.contains(&row);
    let sign = limits::sign(&subject.key, time);
    let verify = limits::verify(&subject.key, time / 3)?;
    let echo = Process::echo(directory).await?;
    let echoes = load::connect(echo.grpc).await?;
    let echo_small = measure_echo(&echo, &echoes, INTROSPECTION, time).await?;
    let echo_large = measure_echo(&echo, &echoes, REFRESHING, time).await?;
    let mut rows = vec![
        Row::limit(format!("signing {name}"), sign),
        Row::limit(format!("verification {name}"), verify),
        Row::limit("echo, sizes of introspection", echo_small),
        Row::limit("echo, sizes of refresh", echo_large),
    ];
    drop((echoes, echo));

    let server = Process::authority(directory).await?;
    let channels = load::connect(server.grpc).await?;
    let signed = match subject.algorithm {
        Algorithm::Rs256 => Limit::of("signing on all cores", &[sign]),
        _ => Limit::of("echo + signing + commit", &[echo_large, sign, store]),
    };
    let row = |row: &str, measured, limit| Row::measured(format!("{row} {name}"), measured, limit, server.id());

    let issuers: Vec<_> = (0..CALLERS).map(|n| Issue::new(realm, fresh_name(n))).collect();
    let issue_time = if wanted("issue") { time } else { time / 4 };
    let (issued, issuers) = load::run(&server, &channels, ISSUE, issuers, issue_time).await?;
    if wanted("issue") {
        rows.push(row("issue", issued, signed.clone()));
    }
    subject.chains = issuers.iter().map(|issuer| issuer.refresh_token.clone()).collect();
    subject.tokens.extend(issuers.into_iter().flat_map(|issuer| issuer.issued));

    if wanted("refresh") {
        let chains = subject.chains.iter().map(|token| Refresh::new(realm, token.clone())).collect();
        let (refreshed, chains) = load::run(&server, &channels, REFRESH, chains, time).await?;
        let floor = (subject.algorithm == Algorithm::Rs256).then_some(0.7);
        rows.push(row("refresh", refreshed, signed.with_floor(floor)));
        subject.tokens.extend(chains.into_iter().flat_map(|chain: Refresh| chain.issued));
    }
    let Some(token) = subject.tokens.first() else { return Err("nothing was issued".into()) };
    if wanted("introspect known") {
        let known = measure_known(&server, &channels, Repeat::introspect(realm, token), time).await?;
        let limit = Limit::of("echo", &[echo_small]).with_floor(Some(0.6));
        rows.push(row("introspect known", known, limit));
    }
    if wanted("local") {
        let verifier = local::verifier(channels[0].clone(), realm, token).await?;
        let limit = Limit::of("SHA-256 of the token", &[local::hash(token, time / 3)]);
        rows.push(row("local known", local::known(&verifier, token, time / 3), limit));
        let limit = Limit::of("verification", &[verify]);
        rows.push(row("local first-time", local::first(&verifier, &subject.tokens[1..], time), limit));
    }
    drop((channels, server));

    if wanted("introspect first-time") {
        // Another start, and so another cache: every token is new to it but one.
        let server = Process::authority(directory).await?;
        let channels = load::connect(server.grpc).await?;
        measure_known(&server, &channels, Repeat::introspect(realm, token), time / 5).await?;
        let callers = vec![Distinct::new(realm, &subject.tokens[1..]); CALLERS];
        let (first, _) = load::run(&server, &channels, INTROSPECT, callers, time).await?;
        let limit = Limit::of("echo + verification", &[echo_small, verify]);
        rows.push(Row::measured(format!("introspect first-time {name}"), first, limit, server.id()));
    }
    Ok(rows)
}

async fn measure_echo(
    server: &Process,
    channels: &[Channel],
    (request, answer): (usize, usize),
    time: Duration,
) -> Result<Measured, Failure> {
    let callers = || vec![Repeat::echo(request, answer); CALLERS];
    load::run(server, channels, echo::PATH, callers(), time / 5).await?;
    Ok(load::run(server, channels, echo::PATH, callers(), time).await?.0)
}

async fn measure_known(
    server: &Process,
    channels: &[Channel],
    caller: Repeat,
    time: Duration,
) -> Result<Measured, Failure> {
    load::run(server, channels, INTROSPECT, vec![caller.clone(); CALLERS], time / 5).await?;
    Ok(load::run(server, channels, INTROSPECT, vec![caller; CALLERS], time).await?.0)
}

/// A subject that no round before had.
fn fresh_name(caller: usize) -> String {
    use token_authority::authority::ports::Entropy as _;
    let mut random = [0; 4];
    token_authority::system::SystemEntropy.fill(&mut random);
    format!("subject-{:08x}-{caller}", u32::from_be_bytes(random))
}
