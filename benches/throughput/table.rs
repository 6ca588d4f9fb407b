//! The table: each measurement beside its limit of the same round, medians of all rounds. Measures
//! nothing.

use std::time::Duration;

use crate::load::Measured;
use crate::process;

/// What a measurement can't beat.
#[derive(Clone)]
pub(crate) struct Limit {
    what: &'static str,
    per_second: f64,
    cpu: Option<Duration>,
    /// The ratio that was aimed at.
    floor: Option<f64>,
}

impl Limit {
    /// Steps that each call needs, one after the other on the same cores: their times add up.
    pub(crate) fn of(what: &'static str, steps: &[Measured]) -> Self {
        Self {
            what,
            per_second: 1.0 / steps.iter().map(|step| 1.0 / step.per_second).sum::<f64>(),
            cpu: steps.iter().map(|step| step.cpu).sum(),
            floor: None,
        }
    }

    pub(crate) fn with_floor(self, floor: Option<f64>) -> Self {
        Self { floor, ..self }
    }
}

/// One line of one round.
pub(crate) struct Row {
    name: String,
    measured: Measured,
    limit: Option<Limit>,
    resident: Option<u64>,
}

impl Row {
    pub(crate) fn limit(name: impl Into<String>, measured: Measured) -> Self {
        Self { name: name.into(), measured, limit: None, resident: None }
    }

    pub(crate) fn measured(name: String, measured: Measured, limit: Limit, server: u32) -> Self {
        Self { name, measured, limit: Some(limit), resident: process::resident(server) }
    }
}

/// All rounds, line by line.
#[derive(Default)]
pub(crate) struct Table(Vec<Vec<Row>>);

impl Table {
    /// Adds a round.
    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            match self.0.iter_mut().find(|line| line.iter().any(|other| other.name == row.name)) {
                Some(line) => line.push(row),
                None => self.0.push(vec![row]),
            }
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<34} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>7} {:>6}  of",
            "", "calls/s", "p50 ms", "p99 ms", "CPU µs", "RSS MiB", "rate/", "CPU/", "floor"
        );
        let (limits, services): (Vec<_>, Vec<_>) = self.0.iter().partition(|line| line[0].limit.is_none());
        limits.into_iter().for_each(|line| print_line(line));
        println!();
        services.into_iter().for_each(|line| print_line(line));
        println!(
            "\nCPU µs: of the server alone a call; of limits without a server, of this process.\n\
             rate/: calls a second over the limit's, from the same round; the load generator's share of the cores counts\n\
             against the service. CPU/: processor time of the limit over the server's, in which it does not count."
        );
    }
}

fn print_line(line: &[Row]) {
    let of = |value: fn(&Row) -> Option<f64>| median(line.iter().filter_map(value).collect());
    let text = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let latency = |value: Duration| Some(value.as_secs_f64() * 1e3).filter(|value| *value > 0.0);
    let limit = line[0].limit.as_ref();
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>7} {:>6}  {}",
        line[0].name,
        text(of(|row| Some(row.measured.per_second)), 0),
        text(median(line.iter().filter_map(|row| latency(row.measured.median)).collect()), 2),
        text(median(line.iter().filter_map(|row| latency(row.measured.p99)).collect()), 2),
        text(of(|row| Some(row.measured.cpu?.as_secs_f64() * 1e6)), 1),
        text(of(|row| Some(f64::from(u32::try_from(row.resident?).ok()?))), 0),
        text(of(|row| Some(row.measured.per_second / row.limit.as_ref()?.per_second)), 2),
        text(of(|row| Some(row.limit.as_ref()?.cpu?.as_secs_f64() / row.measured.cpu?.as_secs_f64())), 2),
        text(limit.and_then(|limit| limit.floor), 2),
        limit.map_or("", |limit| limit.what),
    );
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
