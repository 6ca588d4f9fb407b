//! What is shown: each measurement beside its limit of the same round, medians of all rounds, as tables in
//! Markdown, which terminals show too. Measures nothing.

use std::time::Duration;

use crate::load::Measured;

/// Which table a row stands in, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Limits,
    Service,
    Peers,
    Sessions,
}

/// What a measurement is compared with.
#[derive(Clone)]
pub(crate) struct Limit {
    what: String,
    per_second: f64,
    cpu: Option<Duration>,
}

impl Limit {
    /// Steps that each call needs, one after the other on the same cores: their times add up.
    pub(crate) fn of(what: String, steps: &[Measured]) -> Self {
        Self {
            what,
            per_second: 1.0 / steps.iter().map(|step| 1.0 / step.per_second).sum::<f64>(),
            cpu: steps.iter().map(|step| step.cpu).sum(),
        }
    }
}

/// One line of one round.
pub(crate) struct Row {
    section: Section,
    name: String,
    measured: Measured,
    limit: Option<Limit>,
    /// The ratio that was aimed at.
    floor: Option<f64>,
    resident: Option<f64>,
    /// At half the rate; and the echo at half of its own.
    half: Option<(Measured, Option<Measured>)>,
    /// What a call counts for.
    tokens: f64,
    /// The same call to this service.
    ours: Option<Measured>,
}

impl Row {
    pub(crate) fn new(section: Section, name: impl Into<String>, measured: Measured) -> Self {
        let name = name.into();
        Self { section, name, measured, limit: None, floor: None, resident: None, half: None, tokens: 1.0, ours: None }
    }

    pub(crate) fn against(self, limit: Limit, floor: Option<f64>) -> Self {
        Self { limit: Some(limit), floor, ..self }
    }

    pub(crate) fn resident(self, resident: Option<f64>) -> Self {
        Self { resident, ..self }
    }

    pub(crate) fn at_half_load(self, own: Measured, echo: Option<Measured>) -> Self {
        Self { half: Some((own, echo)), ..self }
    }

    pub(crate) fn compared_with(self, ours: Measured) -> Self {
        Self { ours: Some(ours), ..self }
    }

    pub(crate) fn tokens(self, tokens: f64) -> Self {
        Self { tokens, ..self }
    }
}

/// A number that is no rate.
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    bound: Option<Bound>,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, bound: None }
    }

    pub(crate) fn bound(self, bound: Bound) -> Self {
        Self { bound: Some(bound), ..self }
    }
}

/// Everything of all rounds, line by line.
#[derive(Default)]
pub(crate) struct Table {
    lines: Vec<Vec<Row>>,
    figures: Vec<Figure>,
}

impl Table {
    /// Adds a round.
    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            let same = |line: &&mut Vec<Row>| line[0].section == row.section && line[0].name == row.name;
            match self.lines.iter_mut().find(same) {
                Some(line) => line.push(row),
                None => self.lines.push(vec![row]),
            }
        }
    }

    pub(crate) fn add_figures(&mut self, figures: Vec<Figure>) {
        self.figures.extend(figures);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.figures.is_empty()
    }

    /// One section's lines; nothing if it has none.
    pub(crate) fn section(&self, section: Section) -> String {
        let lines: Vec<_> = self.lines.iter().filter(|line| line[0].section == section).collect();
        let columns: Vec<_> =
            COLUMNS.iter().filter(|column| lines.iter().any(|line| column.of(line).is_some())).collect();
        let limits = lines.iter().any(|line| line[0].limit.is_some());
        let mut cells = vec![vec![String::new()]];
        cells[0].extend(columns.iter().map(|column| column.head.to_owned()));
        if limits {
            cells[0].push("compared with".to_owned());
        }
        for line in &lines {
            let mut row = vec![line[0].name.clone()];
            row.extend(columns.iter().map(|column| number(column.of(line), column.digits)));
            if limits {
                row.push(line[0].limit.as_ref().map_or(String::new(), |limit| limit.what.clone()));
            }
            cells.push(row);
        }
        if lines.is_empty() { String::new() } else { markdown(&cells) }
    }

    /// The other numbers, each with its bound.
    pub(crate) fn figures(&self) -> String {
        let mut cells = vec![["", "value", "", "bound", "kept"].map(str::to_owned).to_vec()];
        for figure in &self.figures {
            let (bound, kept) = match figure.bound {
                None => (String::new(), ""),
                Some(Bound::AtMost(most)) => (format!("at most {most}"), yes(figure.value <= most)),
                Some(Bound::AtLeast(least)) => (format!("at least {least}"), yes(figure.value >= least)),
            };
            let value = number(Some(figure.value), if figure.value < 100.0 { 2 } else { 0 });
            cells.push(vec![figure.name.clone(), value, figure.unit.to_owned(), bound, kept.to_owned()]);
        }
        if self.figures.is_empty() { String::new() } else { markdown(&cells) }
    }

    /// The lines whose ratio is below what was aimed at.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = self.lines.iter().filter_map(|line| {
            let (ratio, floor) = (median(line.iter().filter_map(rate_ratio))?, line[0].floor?);
            (ratio < floor).then(|| format!("{}: {ratio:.2} of its limit, not {floor:.2}", line[0].name))
        });
        missed.collect()
    }

    /// The longest p99, in milliseconds, of the rows whose name begins so.
    pub(crate) fn slowest(&self, section: Section, call: &str) -> Option<f64> {
        let lines = self.lines.iter().filter(|line| line[0].section == section && line[0].name.starts_with(call));
        lines.filter_map(|line| median(line.iter().filter_map(|row| millis(row.measured.p99)))).max_by(f64::total_cmp)
    }

    /// Names, and how many times the echo's the p99 at half load is.
    pub(crate) fn half_load_ratios(&self) -> Vec<(String, f64)> {
        let ratio = |row: &Row| Some(millis(row.half?.0.p99)? / millis(row.half?.1?.p99)?);
        let lines = self.lines.iter();
        lines.filter_map(|line| Some((line[0].name.clone(), median(line.iter().filter_map(ratio))?))).collect()
    }

    /// Names and calls a second of a section.
    pub(crate) fn rates(&self, section: Section) -> Vec<(String, f64)> {
        let lines = self.lines.iter().filter(|line| line[0].section == section);
        lines.filter_map(|line| Some((line[0].name.clone(), median(line.iter().map(rate))?))).collect()
    }

    /// Names and ratios to the limit of a section.
    pub(crate) fn ratios(&self, section: Section) -> Vec<(String, f64)> {
        let lines = self.lines.iter().filter(|line| line[0].section == section);
        lines.filter_map(|line| Some((line[0].name.clone(), median(line.iter().filter_map(rate_ratio))?))).collect()
    }
}

struct Column {
    head: &'static str,
    digits: usize,
    value: fn(&Row) -> Option<f64>,
}

impl Column {
    fn of(&self, line: &[Row]) -> Option<f64> {
        median(line.iter().filter_map(self.value))
    }
}

const COLUMNS: [Column; 15] = [
    Column { head: "calls/s", digits: 0, value: |row| Some(rate(row)) },
    Column { head: "p50 ms", digits: 2, value: |row| millis(row.measured.p50) },
    Column { head: "p99 ms", digits: 2, value: |row| millis(row.measured.p99) },
    Column { head: "p99.9 ms", digits: 2, value: |row| millis(row.measured.p999) },
    Column { head: "CPU µs", digits: 1, value: |row| Some(row.measured.cpu?.as_secs_f64() * 1e6 / row.tokens) },
    Column { head: "RSS MiB", digits: 0, value: |row| row.resident },
    Column { head: "generator busy", digits: 2, value: |row| row.measured.generator },
    Column { head: "p99 at half load", digits: 2, value: |row| millis(row.half?.0.p99) },
    Column { head: "p99.9 at half load", digits: 2, value: |row| millis(row.half?.0.p999) },
    Column { head: "echo's p99 at half load", digits: 2, value: |row| millis(row.half?.1?.p99) },
    Column { head: "rate ratio", digits: 2, value: rate_ratio },
    Column { head: "CPU ratio", digits: 2, value: cpu_ratio },
    Column { head: "ours is faster", digits: 1, value: |row| Some(row.ours?.per_second / row.measured.per_second) },
    Column {
        head: "ours, by CPU",
        digits: 1,
        value: |row| Some(row.measured.cpu?.as_secs_f64() / row.ours?.cpu?.as_secs_f64()),
    },
    Column { head: "floor", digits: 2, value: |row| row.floor },
];

fn rate(row: &Row) -> f64 {
    row.measured.per_second * row.tokens
}

/// Of the limit's rate.
fn rate_ratio(row: &Row) -> Option<f64> {
    Some(row.measured.per_second / row.limit.as_ref()?.per_second)
}

/// The limit's processor time over the server's.
fn cpu_ratio(row: &Row) -> Option<f64> {
    Some(row.limit.as_ref()?.cpu?.as_secs_f64() / row.measured.cpu?.as_secs_f64())
}

fn millis(value: Duration) -> Option<f64> {
    Some(value.as_secs_f64() * 1e3).filter(|value| *value > 0.0)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// With commas between thousands.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    let Some(value) = value else { return String::new() };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

fn yes(kept: bool) -> &'static str {
    if kept { "yes" } else { "**no**" }
}

/// A table whose first line is its head: the first column to the left, others to the right.
pub(crate) fn markdown(cells: &[Vec<String>]) -> String {
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<_> = (0..cells[0].len()).map(width).collect();
    let mut text = String::new();
    for (number, line) in cells.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let padded = if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            text += &format!("| {padded} ");
        }
        text += "|\n";
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column == 0 { "-" } else { ":" };
                text += &format!("|-{}{end}", "-".repeat(*width));
            }
            text += "|\n";
        }
    }
    text
}
