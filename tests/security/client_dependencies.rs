//! The client is built without the server: what cargo would compile for a service that uses the SDK
//! has no store, no HTTP framework and no command line in it.

use std::collections::BTreeSet;
use std::process::Command;

/// Crates of the server alone, each with what it is for there.
#[rustfmt::skip]
const SERVER_ONLY: &[(&str, &str)] = &[
    ("axum", "HTTP edge"),
    ("clap", "command line"),
    ("fred", "store"),
    ("mimalloc", "a library chooses no allocator"),
    ("opentelemetry", "telemetry"),
    ("prost-reflect", "command line"),
    ("redb", "store"),
    ("rsa", "signing"),
    ("toml", "configuration"),
    ("tonic-health", "health"),
    ("tracing-subscriber", "telemetry"),
];

#[test]
fn the_client_pulls_in_nothing_of_the_server() {
    let client = crates(&["--no-default-features", "--features=client"]);
    let server = crates(&[]);
    for (name, purpose) in SERVER_ONLY {
        assert!(!client.contains(*name), "{name} ({purpose}) comes with the client");
        assert!(server.contains(*name), "{name} is nobody's any more: remove its row");
    }
    assert!(client.contains("tonic"), "cargo listed something else: {client:?}");
}

fn crates(features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges=normal", "--prefix=none", "--format={p}"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("text");
    names.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}
