//! Holds the layers of the source apart: who may import whom, which dependency stays where, how files
//! are named and opened. Reads sources as text, so that a forbidden import fails though it compiles.

use std::fs;
use std::path::{Path, PathBuf};

use self::imports::{Imports, imports};

mod imports;

/// One top-level module: which others it may use. A module without a row may use none.
struct Layer {
    name: &'static str,
    may_use: MayUse,
    why: &'static str,
}

enum MayUse {
    Anything,
    /// Modules of the crate, and what is below them; itself it may always use.
    Only(&'static [&'static str]),
}
use MayUse::{Anything, Only};

#[rustfmt::skip]
const LAYERS: &[Layer] = &[
    Layer { name: "domain",    may_use: Only(&[]), why: "the rules are pure, and everything else is about them" },
    Layer { name: "verify",    may_use: Only(&["domain"]), why: "client and server share it, so it knows no server" },
    Layer { name: "signing",   may_use: Only(&["domain", "verify", "authority::ports"]), why: "it makes tokens and decides nothing" },
    Layer { name: "authority", may_use: Only(&["clock", "domain", "verify", "signing", "tasks"]), why: "use cases know neither transport nor store" },
    Layer { name: "store",     may_use: Only(&["domain", "authority::ports", "tasks"]), why: "a store is a port's other side" },
    Layer { name: "grpc",      may_use: Only(&["authority", "domain", "listener", "proto", "tasks"]), why: "it decodes, calls a use case, encodes" },
    Layer { name: "http",      may_use: Only(&["authority", "domain", "health", "proto", "tasks"]), why: "it decodes, calls a use case, encodes" },
    Layer { name: "delivery",  may_use: Only(&["authority", "clock", "domain"]), why: "it carries codes and decides nothing" },
    Layer { name: "clock",     may_use: Only(&["domain"]), why: "server and client are given the same time" },
    Layer { name: "client",    may_use: Only(&["clock", "domain", "proto", "tasks", "verify"]), why: "it is built without the server" },
    Layer { name: "proto",     may_use: Only(&[]), why: "generated code depends on nobody" },
    Layer { name: "tasks",     may_use: Only(&[]), why: "it runs anything, so it knows nothing" },
    Layer { name: "telemetry", may_use: Only(&["config", "proto"]), why: "it observes, and nobody depends on what it sees" },
    Layer { name: "listener",  may_use: Only(&["config", "domain"]), why: "it carries bytes for any protocol" },
    Layer { name: "system",    may_use: Only(&["authority::ports", "clock"]), why: "the machine's randomness is a port's other side" },
    Layer { name: "config",    may_use: Only(&["domain", "verify::client", "verify::keys"]), why: "it reads values and builds nothing" },
    Layer { name: "health",    may_use: Only(&["authority", "proto", "tasks", "verify::revocations"]), why: "it reports what others find" },
    Layer { name: "fuzzing",   may_use: Anything, why: "it tries each reader of the outside's bytes" },
    Layer { name: "cli",       may_use: Anything, why: "it is one of the two entries" },
    Layer { name: "app",       may_use: Anything, why: "it is the composition root" },
    Layer { name: "main",      may_use: Anything, why: "it starts the command line" },
    Layer { name: "lib",       may_use: Anything, why: "it is the map" },
];

/// A path outside the crate that is not everybody's.
struct Dependency {
    path: &'static str,
    used: Used,
    why: &'static str,
}

enum Used {
    /// By these modules and what is below them.
    By(&'static [&'static str]),
    NotBy(&'static [&'static str]),
}
use Used::{By, NotBy};

#[rustfmt::skip]
const DEPENDENCIES: &[Dependency] = &[
    Dependency { path: "tonic",         used: By(&["grpc", "client", "proto", "cli", "app", "health", "listener::connection"]), why: "gRPC is one way in, not what the authority is" },
    Dependency { path: "tonic_types",   used: By(&["grpc", "client", "cli", "telemetry"]), why: "error details are worded in one place" },
    Dependency { path: "tonic_health",  used: By(&["health", "grpc", "app", "cli"]), why: "gRPC is one way in" },
    Dependency { path: "tonic_reflection", used: By(&["grpc", "app"]), why: "gRPC is one way in" },
    Dependency { path: "axum",          used: By(&["fuzzing", "http"]), why: "HTTP is one way in" },
    Dependency { path: "hyper",         used: By(&["client::authority_channel", "delivery::webhook", "http"]), why: "HTTP is one way in, and the way by which codes and calls go out" },
    Dependency { path: "hyper_util",    used: By(&["delivery::webhook", "http", "client"]), why: "one HTTP server, and one HTTP client a purpose" },
    Dependency { path: "percent_encoding", used: By(&["authority::client_proof", "client", "fuzzing", "http"]), why: "how HTTP writes names is no business of the rules" },
    Dependency { path: "prometheus_client", used: By(&["telemetry", "store::observed", "delivery", "http", "app"]), why: "what is measured is measured at the edges" },
    Dependency { path: "envoy_types",   used: By(&["grpc", "app"]), why: "Envoy is one gateway of several" },
    Dependency { path: "hyper_rustls",  used: By(&["client::https"]), why: "one place says whom the client trusts" },
    Dependency { path: "rustls_native_certs", used: By(&["client::https", "delivery::webhook"]), why: "whom to trust is said where one connects" },
    Dependency { path: "rustls",        used: By(&["client::https", "listener", "app::tls", "delivery::webhook"]), why: "who is at the other end is settled before a protocol begins" },
    Dependency { path: "tokio_rustls",  used: By(&["listener", "delivery::webhook"]), why: "who is at the other end is settled before a protocol begins" },
    Dependency { path: "webpki",        used: By(&["listener"]), why: "who is at the other end is settled before a protocol begins" },
    Dependency { path: "rcgen",         used: By(&["cli::dev_certs"]), why: "certificates are made for development only" },
    Dependency { path: "clap",          used: By(&["cli", "config", "main"]), why: "flags are parsed before anything is built" },
    Dependency { path: "rustix",        used: By(&["system"]), why: "the process is asked about in one place" },
    Dependency { path: "fred",          used: By(&["store::redis"]), why: "a store's driver is replaceable" },
    Dependency { path: "redb",          used: By(&["store::embedded"]), why: "a store's engine is replaceable" },
    Dependency { path: "jsonwebtoken",  used: By(&["client::proof", "signing", "verify"]), why: "it checks too little for anyone who does not know what" },
    Dependency { path: "rsa",           used: By(&["signing"]), why: "its private-key operations leak by timing (RUSTSEC-2023-0071)" },
    Dependency { path: "aws_lc_rs",     used: NotBy(&["domain", "grpc", "http"]), why: "rules and transports do no cryptography" },
    Dependency { path: "opentelemetry", used: By(&["telemetry"]), why: "the rest of the code speaks `tracing`" },
    Dependency { path: "opentelemetry_sdk", used: By(&["telemetry"]), why: "the rest of the code speaks `tracing`" },
    Dependency { path: "opentelemetry_otlp", used: By(&["telemetry"]), why: "the rest of the code speaks `tracing`" },
    Dependency { path: "tracing_opentelemetry", used: By(&["telemetry"]), why: "the rest of the code speaks `tracing`" },
    Dependency { path: "tokio",         used: NotBy(&["domain"]), why: "the rules wait for nothing" },
    Dependency { path: "tokio::net",    used: NotBy(&["authority", "domain", "signing", "verify"]), why: "checking a token opens no connection" },
    Dependency { path: "std::net",      used: NotBy(&["domain", "signing", "verify"]), why: "checking a token opens no connection" },
    Dependency { path: "std::time::SystemTime", used: NotBy(&["authority", "domain", "signing", "store", "verify"]), why: "time comes from the injected Clock" },
    Dependency { path: "std::time::Instant", used: NotBy(&["domain"]), why: "`now` is an argument" },
    Dependency { path: "std::fs",       used: NotBy(&["authority", "clock", "domain", "grpc", "http", "verify"]), why: "files belong to stores and configuration" },
    Dependency { path: "tempfile",      used: By(&["cli", "client::token_storage", "fuzzing"]), why: "files belong to stores and configuration" },
    Dependency { path: "std::env",      used: By(&["app", "cli", "config", "main"]), why: "the environment is read once" },
];

/// A name must say what is inside; these say that nobody knew.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "manager", "managers", "misc", "types", "util", "utils"];

/// Far below what there is: fewer means that this test looks in the wrong place.
const FEWEST_FILES: usize = 20;

#[test]
fn each_layer_uses_only_what_it_may() {
    let sources = sources();
    let files: Vec<(&Source, Imports)> =
        sources.iter().map(|source| (source, imports(&source.module, &source.text))).collect();
    let test_modules: Vec<&[String]> =
        files.iter().flat_map(|(_, imports)| imports.test_modules.iter().map(Vec::as_slice)).collect();
    let violations: Vec<String> = files
        .iter()
        .filter(|(source, _)| !test_modules.iter().any(|test| source.module.starts_with(test)))
        .flat_map(|(source, imports)| {
            violations(&source.module, imports).into_iter().map(|text| format!("{}: {text}", source.path.display()))
        })
        .collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn each_file_says_what_it_owns() {
    let silent: Vec<_> = sources().into_iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path).collect();
    assert!(silent.is_empty(), "these do not open with a `//!` line: {silent:?}");
}

#[test]
fn each_file_is_named_for_what_is_inside() {
    let vague: Vec<_> = sources()
        .into_iter()
        .filter(|source| source.module.iter().any(|name| EMPTY_NAMES.contains(&name.as_str())))
        .map(|source| source.path)
        .collect();
    assert!(vague.is_empty(), "name these for what they own: {vague:?}");
}

#[test]
fn a_planted_violation_is_caught() {
    #[rustfmt::skip]
    let planted = [
        ("domain::refresh", "use crate::store::Vault;", "crate::store::Vault"),
        ("domain::refresh", "use crate::{domain::ids::Sid, authority::{ports::{Store as S}}};", "crate::authority::ports::Store"),
        ("domain::refresh", "use super::super::verify;", "crate::verify"),
        ("domain", "pub use super::verify;", "crate::verify"),
        ("domain::refresh", "mod inner { use super::super::super::verify::Key; }", "crate::verify::Key"),
        ("domain::refresh", "fn f() { let x = crate::signing::sign(); }", "crate::signing::sign"),
        ("domain::refresh", "fn f(now: std::time::SystemTime) {}", "std::time::SystemTime"),
        ("domain::refresh", "use std::{fmt, time::{self, Duration, Instant}};", "std::time::Instant"),
        ("domain::refresh", "const C: char = '\"'; use tokio::sync::mpsc; // \"", "tokio::sync::mpsc"),
        ("domain::refresh", "const C: char = '\\''; use fred as redis;", "fred"),
        ("domain::refresh", "fn f<'a>(x: &'a str) -> ::tonic::Status {}", "tonic::Status"),
        ("domain::refresh", "extern crate rsa;", "rsa"),
        ("domain::refresh", "#[cfg(feature = \"test\")] use redb::Database;", "redb::Database"),
        ("domain::refresh", "#[cfg(test)] mod tests { use redb::A; } use redb::B;", "redb::B"),
        ("domain::refresh", "#[cfg(test)] const A: [u8; 2] = [1, 2]; use redb::B;", "redb::B"),
        ("domain::refresh", "const A: &str = r#\"\"//\"#; use redb::B;", "redb::B"),
        ("verify::jwt", "async fn f() { tokio::net::TcpStream::connect(x).await; }", "tokio::net::TcpStream::connect"),
        ("authority::issue_token", "use tonic::Status;", "tonic::Status"),
        ("authority::issue_token", "use crate::grpc::status::map;", "crate::grpc::status::map"),
        ("store::embedded", "use crate::authority::Error;", "crate::authority::Error"),
        ("store::sealing", "use fred::prelude::*;", "fred::prelude"),
        ("store::embedded", "use fred::prelude::*;", "fred::prelude"),
        ("store::redis", "use redb::Database;", "redb::Database"),
        ("grpc::status", "use crate::signing::KeyRing;", "crate::signing::KeyRing"),
        ("http::jwks", "use jsonwebtoken::jwk;", "jsonwebtoken::jwk"),
        ("authority::realm", "use rsa::pkcs8::DecodePrivateKey;", "rsa::pkcs8::DecodePrivateKey"),
        ("newcomer", "use crate::domain::ids::Sid;", "crate::domain::ids::Sid"),
    ];
    for (module, source, expected) in planted {
        let found = check(module, source);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with(&format!("`{expected}`"))),
            "{module}: {source}\nexpected {expected}, found {found:?}"
        );
    }
}

#[test]
fn what_is_allowed_passes() {
    #[rustfmt::skip]
    let allowed = [
        ("domain::refresh", "use crate::domain::ids::Sid; use super::session::Session; use self::inner::X;"),
        ("domain::refresh", "use std::time::Duration; use super::time::Timestamp;"),
        ("domain::refresh", "// use crate::store::Vault;\n/* tonic::Status /* nested */ fred::x */"),
        ("domain::refresh", "/// As [`crate::store::Vault`] does.\nconst A: &str = \"use crate::store\";"),
        ("domain::refresh", "const A: &str = r#\"\"crate::store::x\"\"#; const B: &[u8] = b\"redb::x\";"),
        ("domain::refresh", "#[cfg(test)]\nmod tests { use super::*; use crate::store::Fake; fn f() { { tokio::spawn(x); } } }"),
        ("domain::refresh", "#[cfg(all(test, unix))]\n#[allow(dead_code)]\nfn f(x: [u8; 2]) -> tokio::time::Instant { x }"),
        ("domain::refresh", "fn f() -> impl Iterator<Item = u8> + use<'_> { x.rsa::<u8>() }"),
        ("verify::keys", "use aws_lc_rs::{digest, rsa}; fn f(key: rsa::PublicKey) -> rsa::Size { tonic(key) }"),
        ("store::redis::script", "use fred::prelude::*; use crate::authority::ports::{Commit, Store};"),
        ("signing::import", "use rsa::pkcs8::DecodePrivateKey; use crate::verify::keys::Key;"),
        ("grpc", "use tonic::{Request, Response, Status}; use crate::authority::{Authority, Error};"),
        ("app", "use crate::store::Vault; use crate::grpc; use tonic::transport::Server;"),
        ("main", "use token_authority::cli;"),
    ];
    for (module, source) in allowed {
        assert_eq!(check(module, source), Vec::<String>::new(), "{module}: {source}");
    }
}

#[test]
fn a_module_for_tests_only_is_known_by_its_declaration() {
    let declared = |module: &str, source| imports(&segments(module), source).test_modules;
    assert_eq!(declared("domain", "#[cfg(test)] mod histories; mod ids;"), [segments("domain::histories")]);
    let beside = declared("grpc::validate", "#[cfg(test)]\n#[path = \"validate_tests.rs\"]\nmod tests;");
    assert!(beside.contains(&segments("grpc::validate_tests")), "{beside:?}");
}

fn check(module: &str, source: &str) -> Vec<String> {
    let module = segments(module);
    violations(&module, &imports(&module, source))
}

fn violations(module: &[String], imports: &Imports) -> Vec<String> {
    let mut violations: Vec<String> = imports
        .paths
        .iter()
        .filter_map(|path| {
            let why =
                if path[0] == "crate" { crosses_layers(module, &path[1..]) } else { leaves_its_place(module, path) };
            Some(format!("`{}` in {}: {}", path.join("::"), module.join("::"), why?))
        })
        .collect();
    violations.dedup();
    violations
}

fn crosses_layers(module: &[String], target: &[String]) -> Option<&'static str> {
    if target.first() == module.first() {
        return None;
    }
    let Some(layer) = LAYERS.iter().find(|layer| module.first().is_some_and(|name| name == layer.name)) else {
        return Some("the module has no row in LAYERS");
    };
    let allowed = match layer.may_use {
        Anything => true,
        Only(others) => others.iter().any(|other| below(target, other)),
    };
    (!allowed).then_some(layer.why)
}

fn leaves_its_place(module: &[String], path: &[String]) -> Option<&'static str> {
    let forbidden = |dependency: &&Dependency| {
        below(path, dependency.path)
            && match dependency.used {
                By(modules) => !modules.iter().any(|allowed| below(module, allowed)),
                NotBy(modules) => modules.iter().any(|excluded| below(module, excluded)),
            }
    };
    DEPENDENCIES.iter().find(forbidden).map(|dependency| dependency.why)
}

/// Whether `path` is `ancestor`, written with `::`, or something in it.
fn below(path: &[String], ancestor: &str) -> bool {
    path.starts_with(&segments(ancestor))
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

struct Source {
    path: PathBuf,
    /// `src/store/redis/mod.rs` and `src/store/redis.rs` are `["store", "redis"]`.
    module: Vec<String>,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    collect(&root.join("src"), &mut sources);
    assert!(sources.len() >= FEWEST_FILES, "only {} files found under {}", sources.len(), root.display());
    for source in &mut sources {
        source.path = source.path.strip_prefix(root).expect("it was found there").to_owned();
        source.module =
            source.path.with_extension("").iter().skip(1).map(|name| name.to_string_lossy().into()).collect();
        if source.module.last().is_some_and(|name| name == "mod") {
            source.module.pop();
        }
    }
    sources
}

fn collect(directory: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("the sources can be listed") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source can be read");
            sources.push(Source { path, module: Vec::new(), text });
        }
    }
}
