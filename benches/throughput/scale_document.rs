//! `docs/scale.md`: what a million, a hundred million and a billion sessions need, from the costs that were
//! measured, and how far the arithmetic was from millions that were opened. Measures nothing.

use crate::Arguments;
use crate::needs::{GIB, MACHINES, Needs, Processor, USAGE};
use crate::scale::{Found, Scale};
use crate::sessions::precise;
use crate::table::{markdown, number};

const SIZES: [(&str, f64); 3] = [("1 million", 1e6), ("100 million", 1e8), ("1 billion", 1e9)];

/// Writes it all.
pub(crate) fn write(scale: &Scale, machine: &[String], arguments: &Arguments) -> String {
    let mut text = format!(
        "<!-- Written by `make bench ARGS=\"--only scale --write\"`: change benches/throughput/scale_document.rs instead. -->\n\n\
         # Scale\n\nWhat so many live sessions need, by arithmetic from what one costs; then millions are opened, to see how \
         far the arithmetic is off.\n\n{}\n```sh\n{}\n```\n",
        machine.iter().map(|fact| format!("- {fact}\n")).collect::<String>(),
        arguments.command()
    );
    text += &format!(
        "\n## What one costs\n\nMeasured with {} sessions on a Cluster of one node, where each commit leaves alone. To a Redis that is no Cluster \
         those of a moment leave together, and cost it less than half (performance.md, \"at once\").\n\n{}",
        count(scale.basis.sessions),
        costs(scale)
    );
    text += &format!("\n## What is assumed\n\n{}", assumptions());
    text += &format!("\n## What is needed\n\n{}\n{}", needs(scale), first_limit(scale));
    text + &format!("\n## Whether that holds\n\n{}", check(scale))
}

fn costs(scale: &Scale) -> String {
    let costs = &scale.costs;
    let bytes = |value| format!("{} bytes", number(Some(value), 0));
    let micros = |call: Processor| {
        let micros = |seconds: f64| number(Some(seconds * 1e6), 1);
        format!("{} µs here, {} µs in Redis", micros(call.authority), micros(call.redis))
    };
    table(&[
        ("", "measured"),
        ("a session in Redis, two a subject", &bytes(costs.session)),
        ("a revocation in Redis, while it is kept", &bytes(costs.log_entry)),
        ("a revocation to each follower", &bytes(costs.feed_entry)),
        ("login (EdDSA)", &micros(costs.issue)),
        ("refresh (EdDSA)", &micros(costs.refresh)),
        ("revocation", &micros(costs.revoke)),
        ("introspection of a known token", &format!("{} µs here", number(Some(costs.introspect * 1e6), 1))),
    ])
}

fn assumptions() -> String {
    format!(
        "- {} % of the live sessions are in use at the busiest time; each refreshes every {} minutes (access tokens of 15 \
         minutes), and makes a request every {} seconds that somebody has to check.\n\
         - A session lives for {} days; one in {} is ended before. Logins and revocations come {} times as fast at the \
         busiest time as in the mean.\n\
         - A revocation is kept for {} minutes: until the last access token that it ends has expired.\n\
         - A Redis node holds {} GiB of data and works on one core; cores are used to {} %. Each primary has a replica \
         beside what is counted here.\n",
        USAGE.active * 100.0,
        USAGE.refresh_every / 60.0,
        USAGE.check_every,
        USAGE.lifetime / 86_400.0,
        (1.0 / USAGE.revoked).round(),
        USAGE.peak,
        USAGE.kept / 60.0,
        MACHINES.node / GIB,
        MACHINES.busy * 100.0,
    )
}

fn needs(scale: &Scale) -> String {
    let needs = SIZES.map(|(_, sessions)| Needs::of(sessions, &scale.costs, &USAGE, &MACHINES));
    let line = |name: &str, value: &dyn Fn(&Needs) -> String| {
        let mut line = vec![name.to_owned()];
        line.extend(needs.iter().map(value));
        line
    };
    let mut cells = vec![vec![String::new()]];
    cells[0].extend(SIZES.iter().map(|(name, _)| format!("{name} sessions")));
    let round = |value: f64| number(Some(value), if value < 10.0 { 1 } else { 0 });
    let whole = |value: f64| number(Some(value.ceil()), 0);
    cells.push(line("refreshes/s", &|needs| round(needs.refreshes)));
    cells.push(line("logins/s", &|needs| round(needs.logins)));
    cells.push(line("revocations/s", &|needs| round(needs.revocations)));
    cells.push(line("requests/s to check", &|needs| round(needs.checks)));
    cells.push(line("memory in Redis, GiB", &|needs| round(needs.memory / GIB)));
    cells.push(line("Redis primaries", &|needs| whole(needs.nodes())));
    cells.push(line("… if memory were free", &|needs| whole(needs.nodes_by_processor)));
    cells.push(line("authority cores, checks by the SDK", &|needs| whole(needs.cores)));
    cells.push(line("… each check an introspection", &|needs| whole(needs.cores + needs.cores_to_introspect)));
    cells.push(line("feed to each follower, kB/s", &|needs| round(needs.feed / 1e3)));
    cells.push(line("… to one that begins, MB", &|needs| round(needs.snapshot / 1e6)));
    markdown(&cells)
}

/// Which end comes first as sessions become more.
fn first_limit(scale: &Scale) -> String {
    let million = Needs::of(1e6, &scale.costs, &USAGE, &MACHINES);
    let (by_memory, by_processor) = (1.0 / million.nodes_by_memory, 1.0 / million.nodes_by_processor);
    let first = if by_memory < by_processor { "its memory" } else { "its core" };
    let partitions = 256.0;
    format!(
        "The first limit is that of a Redis node, and of that {first}: it is full at {} million sessions by memory, at {} \
         million by processor. Nodes can be added up to one for each of the {partitions} partitions, {} billion sessions. \
         Authorities share nothing but Redis and can be added freely; if every check is an introspection they are \
         most of what is needed, and the SDK, which checks in the service itself, takes that away. What grows with followers \
         is the feed: each new one first takes every revocation that is kept, so with many followers it is their \
         starting together that is felt.\n",
        number(Some(by_memory), 0),
        number(Some(by_processor), 0),
        number(Some(by_memory.min(by_processor) * partitions / 1e3), 0),
    )
}

fn check(scale: &Scale) -> String {
    let (basis, large) = (&scale.basis, &scale.large);
    let memory = |found: &Found| found.session_bytes * precise(found.sessions) / GIB;
    let predicted = basis.session_bytes * precise(large.sessions) / GIB;
    let mut cells = vec![["", "measured before", "predicted", "measured", "off by"].map(str::to_owned).to_vec()];
    cells[0][1] = format!("at {}", count(basis.sessions));
    cells[0][3] = format!("measured at {}", count(large.sessions));
    let mut line = |name: &str, before: f64, predicted: f64, measured: f64, digits: usize| {
        let off = (measured / predicted - 1.0) * 100.0;
        let value = |value| number(Some(value), digits);
        cells.push(vec![name.to_owned(), value(before), value(predicted), value(measured), format!("{off:+.1} %")]);
    };
    line("bytes a session in Redis", basis.session_bytes, basis.session_bytes, large.session_bytes, 1);
    line("all sessions in Redis, GiB", memory(basis), predicted, memory(large), 2);
    let refresh = |found: &Found| found.refresh.per_second;
    line("refreshes/s, one core for the server", refresh(basis), refresh(basis), refresh(large), 0);
    let micros = |found: &Found| found.refresh.cpu.unwrap_or_default().as_secs_f64() * 1e6;
    line("µs a refresh, server", micros(basis), micros(basis), micros(large), 1);
    let introspect = |found: &Found| found.introspect.per_second;
    line("introspections/s, one core for the server", introspect(basis), introspect(basis), introspect(large), 0);
    if let (Some(before), Some(after)) = (basis.resident, large.resident) {
        line("memory of the server, MiB", before, before, after, 0);
    }
    format!(
        "{}\nThe prediction is that a session costs the same at any size, that throughput doesn't depend on how many there \
         are, and that the server itself keeps nothing for each.\n",
        markdown(&cells)
    )
}

fn count(sessions: u64) -> String {
    number(Some(precise(sessions)), 0)
}

fn table(lines: &[(&str, &str)]) -> String {
    let cells: Vec<_> = lines.iter().map(|(name, value)| vec![(*name).to_owned(), (*value).to_owned()]).collect();
    markdown(&cells)
}
