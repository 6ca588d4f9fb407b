//! Goals that compare several rows, or are of no row's own. Measures nothing.

use crate::peers::OURS;
use crate::table::{Bound, Figure, Section, Table};

/// What is introspected at once, beside what is introspected one by one.
const BATCHES: (&str, &str) = ("introspect 100 known at once, tokens RS256", "introspect known RS256");
const BATCHED: Bound = Bound::AtLeast(5.0);
/// The p99 of a call at half load over the echo's.
const AT_HALF_LOAD: Bound = Bound::AtMost(5.0);
/// How much faster than other services, core by core: a signature of RSA bounds all alike.
const FASTER: [(&str, Bound); 3] = [
    ("introspect RS256", Bound::AtLeast(10.0)),
    ("refresh RS256", Bound::AtLeast(2.0)),
    ("refresh EdDSA", Bound::AtLeast(10.0)),
];

/// As far as the table has their rows.
pub(crate) fn figures(table: &Table) -> Vec<Figure> {
    batches(table).into_iter().chain(at_half_load(table)).chain(faster(table)).chain(asked_for(table)).collect()
}

fn batches(table: &Table) -> Option<Figure> {
    let (many, one) = (rate(table, Section::Service, BATCHES.0)?, rate(table, Section::Service, BATCHES.1)?);
    Some(Figure::new("introspected 100 at once, over one by one", many / one, "times").bound(BATCHED))
}

fn at_half_load(table: &Table) -> Vec<Figure> {
    let figure = |(name, ratio)| Figure::new(format!("p99 at half load over the echo's: {name}"), ratio, "times");
    table.half_load_ratios().into_iter().map(|row| figure(row).bound(AT_HALF_LOAD)).collect()
}

fn faster(table: &Table) -> Vec<Figure> {
    let rates = table.rates(Section::Peers);
    let of_call = |(call, bound): (&str, Bound)| {
        let ours = rate(table, Section::Peers, &format!("{call}: {OURS}"));
        let theirs = rates.iter().filter_map(|(name, rate)| Some((name.strip_prefix(call)?.strip_prefix(": ")?, rate)));
        let figure = |ours: f64, (peer, theirs)| {
            Figure::new(format!("{call} over gRPC, as fast as {peer}"), ours / theirs, "times").bound(bound)
        };
        let others = theirs.filter(|(service, _)| !service.starts_with("this service"));
        others.filter_map(|peer| Some(figure(ours?, peer))).collect::<Vec<_>>()
    };
    FASTER.into_iter().flat_map(of_call).collect()
}

/// The floors of one of the systems to be replaced.
fn asked_for(table: &Table) -> Vec<Figure> {
    let issued = rate(table, Section::Service, "issue RS256");
    let issued = issued.map(|rate| Figure::new("C11: issued a second", rate, "").bound(Bound::AtLeast(500.0)));
    let slowest = |call: &str, most: f64| {
        let p99 = table.slowest(Section::Service, call)?;
        Some(Figure::new(format!("C11: slowest p99 of any {call} row"), p99, "ms").bound(Bound::AtMost(most)))
    };
    let slowest = [("refresh", 150.0), ("introspect", 50.0), ("revoke", 100.0)].map(|(call, most)| slowest(call, most));
    issued.into_iter().chain(slowest.into_iter().flatten()).collect()
}

fn rate(table: &Table, section: Section, name: &str) -> Option<f64> {
    table.rates(section).into_iter().find(|(row, _)| row == name).map(|(_, rate)| rate)
}
