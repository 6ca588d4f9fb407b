//! `docs/performance.md`: the tables of a run, and what they mean. Measures nothing.

use crate::Arguments;
use crate::load::CALLERS;
use crate::table::{Section, Table};
use crate::wire::CONNECTIONS;

/// Writes it all.
pub(crate) fn write(table: &Table, machine: &[String], arguments: &Arguments) -> String {
    let mut text = format!(
        "<!-- Written by `make bench`: change benches/throughput/performance_document.rs instead. -->\n\n# Performance\n\n{INTRODUCTION}"
    );
    text += "\n## This run\n\n";
    machine.iter().for_each(|fact| text += &format!("- {fact}\n"));
    text += &format!(
        "- {} rounds of {} s a measurement, all in turn; each number below is the median of the rounds\n\
         - {CALLERS} callers, each with one call at a time; over gRPC on {CONNECTIONS} connections, over HTTP/1.1 on one each\n",
        arguments.rounds(),
        arguments.time().as_secs_f64(),
    );
    text += &format!("\n```sh\n{}\n```\n", arguments.command());
    for (head, section, about) in SECTIONS {
        let lines = table.section(section);
        if !lines.is_empty() {
            text += &format!("\n## {head}\n\n{about}\n\n{lines}");
        }
    }
    let figures = table.figures();
    if !figures.is_empty() {
        text += &format!("\n## Other figures\n\n{FIGURES}\n\n{figures}");
    }
    let missed = table.missed();
    text += "\n## Not reached\n\n";
    if missed.is_empty() {
        text += "Every floor in these tables was reached in this run.\n";
    }
    missed.iter().for_each(|line| text += &format!("- {line}\n"));
    text + "\n" + READING
}

const INTRODUCTION: &str = "\
What the service does in a second is worth knowing only next to what it must at least do on the same
cores at the same hour. So each figure stands beside its limit, measured in the same round: a bare echo with
messages of the same sizes, and the signature, the sealing and the commit that the call can't do without.

![Calls a second of this service and of two others, and how close each call comes to its limit](performance.svg)
";

const SECTIONS: [(&str, Section, &str); 4] = [
    (
        "The service",
        Section::Service,
        "Calls of gRPC unless the row says HTTP; \"on Redis\" and \"on Cluster\" are one Redis and a Cluster of three, \
         AOF synced every second; rows without a place are on the embedded store. *CPU µs* is the server's \
         processor time a call (or token), *RSS* its memory after the row.",
    ),
    (
        "Beside other services",
        Section::Peers,
        "`oidc-provider` as its documentation advises for production, and a service of Express, jsonwebtoken and \
         ioredis as it is commonly written (`bench/peers`), each with as many workers as the server has cores, on the \
         same Redis. *Ours is faster* is this service's rate over HTTP/1.1 divided by theirs, *by CPU* their \
         processor time a call divided by ours. oidc-provider introspects opaque tokens, which it looks up; Express \
         verifies the signature and looks up revocations each time; this service has verified the token before.",
    ),
    (
        "As sessions become many",
        Section::Sessions,
        "A thousand sessions spread over all that there are, two sessions a subject, refreshed and introspected by turns, \
         and by turns with another store that has no more than a thousand, whose own rates are in no row. Of the first \
         rows, where both stores have as many, the ratio is what chance makes of it. What a grown store does behind \
         calls goes on in the turns of the other, too.",
    ),
    (
        "Limits",
        Section::Limits,
        "What the other tables compare with, each alone on the server's cores; and what a Redis does of a commit, sent by \
         `redis-benchmark`: more than that, all servers together can't refresh on one Redis.",
    ),
];

const FIGURES: &str = "\
Floors of \"C11\" are what one of the systems to be replaced asked for; the others are goals of this project.";

const READING: &str = "\
## How to read it

- **rate ratio**: calls a second over the limit's. A limit of several steps is `1 / (1/a + 1/b + …)`: one after the
  other on the same cores. What is signed by RSA is compared with raw signing alone.
- **CPU ratio**: the limit's processor time a call over the server's. The load generator does not count in it.
- **generator busy**: the part of its cores that the load generator used. Near 1, the generator was the limit, and the
  CPU ratio is the one to read. Redis runs on the same cores, so a row on Redis is bound there before it reaches 1.
- **p99** of the closed loop is what callers see who always have a call under way, so it follows from the rate.
  **At half load** calls come at fixed times, at half of the rate of the closed loop, and time runs from the moment
  at which a call was due, not from when it was sent.
- **floor**: the ratio that was aimed at. Where a floor is missing, none was set.
- Two runs on a shared machine differ by a tenth and more. Compare within a table only.

To repeat it: Linux, Rust, and `make bench`, which installs Redis and Node.js where they are missing, builds the
release artefact and measures it, ten to twelve minutes each on 2 cores, and writes this page. `make bench ARGS=\"--only refresh\"`
measures some rows and writes nothing; `--quick` shows in a minute that everything runs. Why something was not reached is
in [profiles.md](profiles.md), what millions of sessions need in [scale.md](scale.md).
";
