//! How what is wrong is told: where, what is allowed, the nearest name, and all at once.

use std::fs;

use tempfile::TempDir;

use super::{error, load};
use crate::config::Flags;

#[test]
fn a_typo_is_refused_with_file_line_and_the_nearest_name() {
    for (text, expected) in [
        ("[server]\ngrcp = \"127.0.0.1:1\"\n", "c.toml:2: server.grcp: unknown key \"grcp\": did you mean \"grpc\"?"),
        ("\n[sever]\n", "c.toml:2: unknown table \"sever\": did you mean \"server\"?"),
        ("[store]\nqqq = 1\n", "c.toml:2: store.qqq: unknown key \"qqq\": known are url, accept_unsafe, max_staleness"),
        (
            "[realm]\nname = \"a\"\n\nacces_lifetime = \"15m\"\n",
            "c.toml:4: realm.acces_lifetime: unknown key \"acces_lifetime\": did you mean \"access_lifetime\"?",
        ),
        ("log = 1\n", "c.toml:1: log: must be a table: [log]"),
        ("[[relm]]\nname = \"a\"\n", "c.toml:1: unknown table \"relm\": did you mean \"realm\"?"),
    ] {
        assert_eq!(error(text), expected);
    }
    assert!(error("[server\n").starts_with("c.toml:1: not TOML: "), "{}", error("[server\n"));
    assert!(error("[log]\nlevel = 'a'\nlevel = 'b'\n").starts_with("c.toml:3: not TOML: "));
}

#[test]
fn a_typo_in_a_realm_is_told_by_what_it_is() {
    let tables = "claims, keys, devices, rate_limits, otp, messages, clients";
    for (lines, expected) in [
        ("rotaton = \"off\"", "rotaton: unknown key \"rotaton\": did you mean \"rotation\"?".to_owned()),
        ("[realm.device]", "device: unknown table \"device\": did you mean \"devices\"?".to_owned()),
        ("[realm.claim.role]", "claim: unknown table \"claim\": did you mean \"claims\"?".to_owned()),
        ("[[realm.client]]\nid = \"a\"", "client: unknown table \"client\": did you mean \"clients\"?".to_owned()),
        ("[realm.sms]", format!("sms: unknown table \"sms\": known are {tables}")),
        ("rotation = \"each\"", "rotation: \"each\": must be \"each-use\" or \"off\"".to_owned()),
    ] {
        assert_eq!(error(&format!("[realm]\nname = \"a\"\n{lines}\n")), format!("c.toml:3: realm.{expected}"));
    }
}

#[test]
fn a_wrong_value_is_refused_with_what_is_allowed() {
    for (text, starts, says) in [
        ("[server]\ngrpc = \"localhost\"", "c.toml:2: server.grpc: \"localhost\": ", "an IP address with a port"),
        ("[server]\ngrpc = 50051", "c.toml:2: server.grpc: 50051: ", "an IP address with a port"),
        ("[server]\ninsecure = \"true\"", "c.toml:2: server.insecure: \"true\": ", "true or false"),
        ("[server]\npublic_url = \"example.com\"", "c.toml:2: server.public_url: ", "https://"),
        ("[server]\npublic_url = \"https://example.com/\"", "c.toml:2: server.public_url: ", "no '/' at the end"),
        ("[server]\npublic_url = \"https://a@example.com\"", "c.toml:2: server.public_url: ", "no user"),
        ("[server]\nmax_connections = 0", "c.toml:2: server.max_connections: 0: ", "from 1 to 1000000"),
        ("[server]\npeer_timeout = \"500ms\"", "c.toml:2: server.peer_timeout: ", "from 1s to 1h, in whole seconds"),
        ("[server]\nhandshake_timeout = \"2m\"", "c.toml:2: server.handshake_timeout: ", "from 1s to 1m, in whole"),
        ("[server]\nconnection_age = \"0s\"", "c.toml:2: server.connection_age: ", "from 1s to 1day, in whole seconds"),
        ("[server]\nhealth = \"50052\"", "c.toml:2: server.health: ", "an IP address with a port"),
        ("[tls]\ncertificate = \"a\"", "c.toml:2: tls.certificate: ", "its private key is missing"),
        ("[tls]\nkey = \"a\"", "c.toml:2: tls.key: ", "its certificate is missing"),
        ("[tls]\nclient_ca = \"a\"", "c.toml:2: tls.client_ca: ", "no TLS without tls.certificate"),
        ("[tls]\ngrpc = \"mutual\"", "c.toml:2: tls.grpc: ", "no TLS without tls.certificate"),
        ("[tls]\ncertificate = \"a\"\nkey = \"b\"\nhttp = \"optional\"", "c.toml:4: tls.http: ", "tls.client_ca"),
        ("[tls]\nhttp = true", "c.toml:2: tls.http: true: ", "\"off\" or \"server\" or \"optional\" or \"mutual\""),
        ("[store]\nurl = \"redis//:secret@h\"", "c.toml:2: store.url: must be embedded:DIR", "redis-sentinel://"),
        ("[keys]\nencryption_key_file = \"\"", "c.toml:2: keys.encryption_key_file: ", "a path"),
        ("[log]\nformat = \"yaml\"", "c.toml:2: log.format: \"yaml\": ", "must be \"text\" or \"json\""),
        ("[log]\nlevel = \"inof\"", "c.toml:2: log.level: \"inof\": ", "must be one of off, error, warn, info"),
        ("[telemetry]\notlp_endpoint = \"https://h:1\"", "c.toml:2: telemetry.otlp_endpoint: ", "without TLS"),
        ("[telemetry]\notlp_endpoint = \"http://u@h:1\"", "c.toml:2: telemetry.otlp_endpoint: ", "no user"),
        ("[telemetry]\notlp_endpoint = \"http://h:1/v1/traces\"", "c.toml:2: telemetry.otlp_endpoint: ", "no path"),
        ("[telemetry]\ntrace_ratio = 1.5", "c.toml:2: telemetry.trace_ratio: 1.5: ", "from 0 to 1"),
        ("[telemetry]\ntrace_ratio = \"0.5\"", "c.toml:2: telemetry.trace_ratio: \"0.5\": ", "from 0 to 1"),
        ("[realm]\nname = \"A\"", "c.toml:2: realm.name: \"A\": ", "1 to 63 characters"),
        ("[realm]\nalgorithm = \"RS256\"", "c.toml:1: realm: name is missing", "such as"),
    ] {
        let error = error(text);
        assert!(error.starts_with(starts) && error.contains(says) && !error.contains("secret"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let refused = error("[server]\ngrpc = 1\nhtpp = 2\n[realm]\nname = \"a\"\nmax_sessions = 0\nrotation = 1\n");
    let lines: Vec<_> = refused.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(lines, ["c.toml:2", "c.toml:3", "c.toml:6", "c.toml:7"].map(String::from), "{refused}");
}

#[test]
fn everything_wrong_with_a_realm_is_said_at_once_and_with_each_of_several() {
    let wrong = [
        ("[realm]", ""),
        ("name = \"A\"", "realm.name: \"A\": realm must be 1 to 63 characters"),
        ("rotaton = \"off\"", "realm.rotaton: unknown key \"rotaton\": did you mean \"rotation\"?"),
        ("at_limit = \"evict\"", "realm.at_limit: \"evict\": must be \"refuse\" or \"evict-oldest\" or "),
        ("[realm.claims.role]", ""),
        ("type = \"text\"", "realm.claims.role.type: \"text\": must be \"any\" or \"string\" or "),
        ("[realm.keys]", ""),
        ("lifetime = \"1s\"", "realm.keys.lifetime: \"1s\": must be a duration in quotes such as "),
        ("[realm.devices]", ""),
        ("untrusted = \"no\"", "realm.devices.untrusted: \"no\": must be \"allow\" or \"refuse\""),
        ("[realm.otp]", ""),
        ("delivery = \"log\"", ""),
        ("attempts = 11", "realm.otp.attempts: 11: must be a whole number from 1 to 10"),
        ("[realm.messages]", ""),
        ("revoke = \"no\"", "realm.messages.revoke: unknown key \"revoke\": did you mean \"revoked\"?"),
        ("[realm.rate_limit]", "realm.rate_limit: unknown table \"rate_limit\": did you mean \"rate_limits\"?"),
        ("[[realm.clients]]", ""),
        ("id = \"a\"", ""),
        ("roles = [\"isuer\"]", "realm.clients.roles: must be \"issuer\" or "),
    ];
    let directory = TempDir::new().expect("a directory");
    for file in ["a.toml", "b.toml"] {
        let lines = wrong.map(|(line, _)| line).join("\n");
        fs::write(directory.path().join(file), lines).expect("writes");
    }
    let flags = Flags { realms: Some(directory.path().to_owned()), ..Flags::default() };
    let refused = load("", &[], flags).expect_err("refused");
    let mut told = refused.lines();
    for file in ["a.toml", "b.toml"] {
        for (number, (_, problem)) in (1..).zip(&wrong).filter(|(_, (_, problem))| !problem.is_empty()) {
            let expected = format!("{}:{number}: {problem}", directory.path().join(file).display());
            assert!(told.next().is_some_and(|line| line.starts_with(&expected)), "{expected} in:\n{refused}");
        }
    }
    assert_eq!(told.next(), None, "{refused}");
}
