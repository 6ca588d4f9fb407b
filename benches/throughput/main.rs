//! Throughput over real connections, each beside its limit in the same run: what one call costs is worth
//! knowing only next to what it must cost on the same cores at the same hour.
#![allow(clippy::print_stdout, reason = "it prints tables")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Parser;

use cores::CORES;
use parts::Parts;
use service::Service;
use stores::{Backing, Stores};
use table::Table;

// Servers, and the load on them.
mod callers;
mod cores;
mod forms;
mod load;
mod process;
mod stores;
mod wire;

// What bounds a call.
mod echo;
mod limits;
mod parts;
mod script_limit;
mod store_limits;

// What is measured: one chapter of the run each, and their tables of rows and costs.
mod local;
mod needs;
mod peers;
mod revocation;
mod rows;
mod scale;
mod service;
mod sessions;
mod watch;

// What is shown.
mod chart;
mod goals;
mod machine;
mod performance_document;
mod scale_document;
mod table;

// Shared with tests, which look further into them and break them.
#[path = "../../tests/grpc/collector.rs"]
#[allow(dead_code, clippy::disallowed_methods, reason = "not all of it is used here")]
mod collector;
#[path = "../../tests/store/redis_fleet.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod redis_fleet;
#[path = "../../tests/store/redis_server.rs"]
mod redis_server;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why nothing was measured.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// In which sessions are opened by the thousand: its signature takes less time than storing.
pub(crate) const REALM: &str = "eddsa";
/// How many sessions throughput is measured at.
const SIZES: [u64; 3] = [1_000, 100_000, 1_000_000];
const QUICK_SIZES: [u64; 2] = [1_000, 5_000];
const BY_NAME: [&str; 3] = ["revocation", "snapshot", "scale"];

/// Measures the service beside its limits
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// How long each measurement takes
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How often each is taken, in turn with the others; the tables show medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only rows whose name contains this, and their limits; or `peers`, `sessions`, `revocation`, `snapshot`,
    /// `watch`, `scale`
    #[arg(long, default_value = "")]
    only: String,
    /// Whether everything runs, in a minute: short measurements, one round, few sessions
    #[arg(long)]
    quick: bool,
    /// How many sessions `--only scale` opens
    #[arg(long, default_value_t = 5_000_000)]
    sessions: u64,
    /// Write docs/performance.md and its chart, or with `--only scale` docs/scale.md
    #[arg(long)]
    write: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// What to be instead, and with what: given by this program to itself
    #[arg(hide = true)]
    role: Vec<String>,
}

impl Arguments {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(if self.quick { 0.2 } else { self.seconds })
    }

    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds }
    }

    fn sizes(&self) -> &'static [u64] {
        if self.quick { &QUICK_SIZES } else { &SIZES }
    }

    /// Whether a chapter is part of the run; those that take long only by their names.
    fn wants(&self, chapter: &str) -> bool {
        self.only == chapter || self.only.is_empty() && !BY_NAME.contains(&chapter)
    }

    /// What repeats the run.
    pub(crate) fn command(&self) -> String {
        let given: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        if given == ["--write"] { "make bench".to_owned() } else { format!("make bench ARGS=\"{}\"", given.join(" ")) }
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    if let [revocation::SUBSCRIBER, address] = arguments.role.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return CORES.run_as_load(revocation::subscriber(address))?;
    }
    if !arguments.role.is_empty() {
        return echo::serve().map_err(|error| error.to_string().into());
    }
    let machine = machine::description();
    machine.iter().for_each(|fact| println!("- {fact}"));
    CORES.run_as_load(bench(&arguments, &machine))?
}

async fn bench(arguments: &Arguments, machine: &[String]) -> Result<(), Failure> {
    let stores = Stores::new()?;
    if arguments.wants("scale") {
        let scale = scale::run(&stores, arguments.sessions, arguments.rounds(), arguments.time()).await?;
        let text = scale_document::write(&scale, machine, arguments);
        println!("\n{text}");
        return if arguments.write { Ok(fs::write(document("scale.md"), text)?) } else { Ok(()) };
    }
    let mut table = Table::default();
    let measured = measure(&mut table, &stores, arguments).await;
    let text = performance_document::write(&table, machine, arguments);
    println!("\n{text}");
    // What was measured before a failure is shown, but it is no document.
    measured?;
    if arguments.write {
        fs::write(document("performance.md"), text)?;
        fs::write(document("performance.svg"), chart::draw(&table))?;
    }
    Ok(())
}

async fn measure(table: &mut Table, stores: &Stores, arguments: &Arguments) -> Result<(), Failure> {
    let (time, rounds) = (arguments.time(), arguments.rounds());
    let mut service = Service::new(stores, &arguments.only.to_lowercase(), time);
    for round in 0..rounds {
        println!("round {} of {rounds}", round + 1);
        let mut parts = Parts::new(stores, round, time);
        table.add(service.round(&mut parts).await?);
        table.add(parts.rows());
        if arguments.wants("peers") {
            table.add(peers::round(stores, time).await?);
        }
    }
    if arguments.wants("sessions") {
        for backing in [Backing::Embedded, Backing::Redis] {
            println!("sessions, {backing:?}");
            let (rounds, figures) = sessions::grow(stores, backing, arguments.sizes(), (rounds, time)).await?;
            rounds.into_iter().for_each(|rows| table.add(rows));
            table.add_figures(figures);
        }
    }
    if arguments.wants("revocation") {
        table.add_figures(revocation::latency(stores).await?);
    }
    if arguments.wants("snapshot") {
        table.add_figures(revocation::snapshot(stores).await?);
    }
    if arguments.wants("watch") {
        table.add_figures(watch::run(stores).await?);
    }
    if table.is_empty() {
        return Err(format!("no row's name contains `{}`", arguments.only).into());
    }
    table.add_figures(goals::figures(table));
    Ok(())
}

fn document(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}
