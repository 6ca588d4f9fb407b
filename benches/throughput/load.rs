//! The load generator: callers that ask as soon as they have an answer (closed loop), or at set times
//! however late the answers are (open loop). Messages are bytes to it, whichever server it calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::codegen::Bytes;

use crate::Failure;
use crate::cores::CORES;
use crate::process::{self, Process};
use crate::wire::{Endpoint, Protocol, Wire, Wires};

/// How many ask at once.
pub(crate) const CALLERS: usize = 64;
/// How often the clock of an open loop is looked at: as often as a timer of the system rings reliably.
const TICK: Duration = Duration::from_micros(50);

/// One that calls. Both ends of a conversation with the server are its own.
pub(crate) trait Caller: Send + 'static {
    /// The next request; `None` when there is nothing more to ask.
    fn request(&mut self) -> Option<Bytes>;

    /// Reads the answer; the error says what is wrong with it.
    fn answer(&mut self, answer: Bytes) -> Result<(), String>;
}

/// When callers ask.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// As soon as they have an answer: says how much is possible.
    Closed,
    /// So many a second, whatever is answered; time runs from the moment at which a call was due, so
    /// that a stall is felt by all that it delays.
    Open { per_second: f64 },
}

/// What was measured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
    /// Processor time a call: the server's, or for work without one that of the whole process.
    pub(crate) cpu: Option<Duration>,
    /// How busy the load generator kept its cores, of one: close to that, it was what limited.
    pub(crate) generator: Option<f64>,
}

/// Lets all callers call for a time, or until none has anything to ask, and gives them back.
pub(crate) async fn run<C: Caller>(
    server: &Process,
    endpoint: &Endpoint,
    callers: Vec<C>,
    pace: Pace,
    time: Duration,
) -> Result<(Measured, Vec<C>), Failure> {
    let address = match endpoint.protocol {
        Protocol::Grpc => server.grpc,
        Protocol::Http => server.http,
    };
    let wires = Wires::connect(address, endpoint, callers.len()).await?;
    let (before, own_before) = (process::cpu(server.id()), process::cpu_alone(std::process::id()));
    let start = Instant::now();
    let schedule = match pace {
        Pace::Closed => None,
        Pace::Open { per_second } => Some(Schedule::start(start, per_second, time)),
    };
    let mut working = JoinSet::new();
    for (caller, wire) in callers.into_iter().zip(wires.wires) {
        match &schedule {
            None => working.spawn(closed(caller, wire, start + time)),
            Some(schedule) => working.spawn(open(caller, wire, schedule.clone())),
        };
    }
    let (mut callers, mut latencies) = (Vec::new(), Vec::new());
    while let Some(finished) = working.join_next().await {
        let (caller, own) = finished?.map_err(|error| format!("{}: {error}", endpoint.path))?;
        callers.push(caller);
        latencies.extend(own);
    }
    let took = start.elapsed();
    let since = |before: Option<Duration>, now: Option<Duration>| Some(now?.saturating_sub(before?));
    let cpu = since(before, process::cpu(server.id()));
    let own = since(own_before, process::cpu_alone(std::process::id()));
    Ok((measured(latencies, took, cpu, own), callers))
}

async fn closed<C: Caller>(mut caller: C, mut wire: Wire, end: Instant) -> Result<(C, Vec<Duration>), String> {
    let mut latencies = Vec::new();
    let mut now = Instant::now();
    while now < end {
        let Some(request) = caller.request() else { break };
        caller.answer(wire.call(request).await?)?;
        let answered = Instant::now();
        latencies.push(answered - now);
        now = answered;
    }
    Ok((caller, latencies))
}

async fn open<C: Caller>(mut caller: C, mut wire: Wire, schedule: Arc<Schedule>) -> Result<(C, Vec<Duration>), String> {
    let mut latencies = Vec::new();
    while let Some(due) = schedule.next().await {
        let Some(request) = caller.request() else { break };
        caller.answer(wire.call(request).await?)?;
        latencies.push(due.elapsed());
    }
    Ok((caller, latencies))
}

/// The times at which calls are due.
struct Schedule {
    start: Instant,
    per_second: f64,
    calls: u32,
    next: AtomicU32,
    /// One permit a call that is due.
    due: Semaphore,
}

impl Schedule {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "calls of some seconds")]
    fn start(start: Instant, per_second: f64, time: Duration) -> Arc<Self> {
        let calls = (per_second * time.as_secs_f64()) as u32;
        let schedule = Arc::new(Self { start, per_second, calls, next: AtomicU32::new(0), due: Semaphore::new(0) });
        let told = schedule.clone();
        std::thread::spawn(move || told.ring());
        schedule
    }

    /// Waits for a call to be due, and says since when; nothing after the last.
    async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.calls).then(|| self.at(number))
    }

    fn at(&self, number: u32) -> Instant {
        self.start + Duration::from_secs_f64(f64::from(number) / self.per_second)
    }

    /// On a thread of its own: the runtime's timers have milliseconds.
    #[allow(clippy::disallowed_methods, reason = "it has nothing else to do, and ends with the schedule")]
    fn ring(&self) {
        let mut rung = 0;
        while rung < self.calls {
            std::thread::sleep(TICK);
            let now = Instant::now();
            let due = (rung..self.calls).take_while(|number| self.at(*number) <= now).count();
            self.due.add_permits(due);
            rung += u32::try_from(due).unwrap_or(u32::MAX);
        }
        // Whoever waits goes home.
        self.due.add_permits(CALLERS * CALLERS);
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer calls than a double counts")]
fn measured(
    mut latencies: Vec<Duration>,
    took: Duration,
    cpu: Option<Duration>,
    generator: Option<Duration>,
) -> Measured {
    latencies.sort_unstable();
    let at = |permille: usize| latencies.get(latencies.len() * permille / 1000).copied().unwrap_or_default();
    let calls = u32::try_from(latencies.len()).unwrap_or(u32::MAX).max(1);
    let cores = CORES.load.len() as f64;
    Measured {
        per_second: latencies.len() as f64 / took.as_secs_f64(),
        p50: at(500),
        p99: at(990),
        p999: at(999),
        cpu: cpu.map(|cpu| cpu / calls),
        generator: generator.map(|own| own.as_secs_f64() / took.as_secs_f64() / cores),
    }
}
