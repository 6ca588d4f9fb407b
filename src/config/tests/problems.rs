//! How what is wrong is told: where, what is allowed, the nearest name, and all at once.

use super::error;

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
    ] {
        assert_eq!(error(text), expected);
    }
    assert!(error("[server\n").starts_with("c.toml:1: not TOML: "), "{}", error("[server\n"));
    assert!(error("[log]\nlevel = 'a'\nlevel = 'b'\n").starts_with("c.toml:3: not TOML: "));
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
