//! File, environment and flags: which wins, and what the environment is asked for.

use std::fs;

use tempfile::TempDir;

use super::load;
use crate::config::*;

#[test]
fn environment_wins_over_file_and_flags_over_both() {
    let file = "[server]\ngrpc = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\nformat = \"json\"\n";
    let variables = [("TOKEN_AUTHORITY__SERVER__GRPC", "127.0.0.1:2"), ("TOKEN_AUTHORITY__LOG__LEVEL", "debug")];
    let port = |flags| load(file, &variables, flags).map(|config| (config.grpc.port(), config.log));
    let log = LogConfig { format: LogFormat::Json, level: "debug".to_owned() };
    assert_eq!(port(Flags::default()), Ok((2, log.clone())));
    let flags = Flags { grpc: "127.0.0.1:3".parse().ok(), ..Flags::default() };
    assert_eq!(port(flags), Ok((3, log)));

    let most = load("", &[("TOKEN_AUTHORITY__SERVER__MAX_CONNECTIONS", "7")], Flags::default());
    assert_eq!(most.map(|config| config.connections.most), Ok(7));
    let wrong = load("", &[("TOKEN_AUTHORITY__SERVER__GRCP", "x")], Flags::default()).expect_err("refused");
    assert!(wrong.ends_with("did you mean \"TOKEN_AUTHORITY__SERVER__GRPC\"?"), "{wrong}");
    let wrong = load("", &[("TOKEN_AUTHORITY__LOG__FORMAT", "x")], Flags::default()).expect_err("refused");
    assert_eq!(wrong, "TOKEN_AUTHORITY__LOG__FORMAT: \"x\": must be \"text\" or \"json\"");
    let others = [("TOKEN_AUTHORITY_PORT", "tcp://10.0.0.1:1"), ("PATH", "/bin")];
    assert_eq!(load("", &others, Flags::default()), Ok(Config::default()));
}

#[test]
fn a_secret_comes_from_a_file_that_the_environment_names() {
    let directory = TempDir::new().expect("a directory");
    let secret = directory.path().join("url");
    fs::write(&secret, "redis://:secret@h:1\n").expect("writes");
    let path = secret.to_str().expect("UTF-8");
    let file = ("TOKEN_AUTHORITY__STORE__URL_FILE", path);
    let config = load("", &[file], Flags::default()).expect("loads");
    assert_eq!(config.store, StoreUrl::parse("redis://:secret@h:1").expect("a store"));

    let both = load("", &[file, ("TOKEN_AUTHORITY__STORE__URL", "embedded:x")], Flags::default());
    assert!(both.expect_err("refused").contains("keep one of them"));
    let missing = load("", &[("TOKEN_AUTHORITY__STORE__URL_FILE", "/nowhere/url")], Flags::default());
    assert!(missing.expect_err("refused").starts_with("TOKEN_AUTHORITY__STORE__URL_FILE: /nowhere/url: can't be read"));
}

#[test]
fn the_standard_variable_names_the_collector_unless_ours_does() {
    let file = "[telemetry]\notlp_endpoint = \"http://file:1/\"\ntrace_ratio = 1\n";
    let endpoint = |variables: &[_], flags| load(file, variables, flags).map(|config| config.traces.otlp_endpoint);
    let said = |text: &str| Ok(Some(text.to_owned()));
    let shared = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://shared:1");
    let ours = ("TOKEN_AUTHORITY__TELEMETRY__OTLP_ENDPOINT", "http://ours:1");
    assert_eq!(endpoint(&[], Flags::default()), said("http://file:1"));
    assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], Flags::default()), said("http://file:1"));
    assert_eq!(endpoint(&[shared], Flags::default()), said("http://shared:1"));
    assert_eq!(endpoint(&[shared, ours], Flags::default()), said("http://ours:1"));
    let flags = Flags { otlp_endpoint: Some("http://flag:1".to_owned()), ..Flags::default() };
    assert_eq!(endpoint(&[shared, ours], flags), said("http://flag:1"));
    let refused = endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://h")], Flags::default()).expect_err("refused");
    assert!(refused.starts_with("OTEL_EXPORTER_OTLP_ENDPOINT: "), "{refused}");
}
