//! The real binary at the command line: exit codes, what stands on which stream, and a token's life
//! told in JSON. Knows nothing of how commands are made.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;
use token_authority::verify::client::SecretHash;

use crate::server_process::ServerProcess;

mod callers;
mod command;
mod leaks;
mod tls;
mod watch;

use command::{Client, run, run_with, text, write};

#[test]
fn a_life_told_in_json() {
    let server = ServerProcess::start(&[]);
    let client = Client::of(&server);
    let first = client.issue(&[
        "--subject",
        "alice",
        "--device",
        "laptop",
        "--scope",
        "read",
        "--scope",
        "write",
        "--aud",
        "api",
        "--claim",
        "role=\"admin\"",
        "--claim",
        "level=3",
    ]);
    assert_eq!((text(&first["tokenType"]), &first["scope"]), ("Bearer", &serde_json::json!(["read", "write"])));

    let told = client.run(&["token", "introspect", text(&first["accessToken"]), "--json"]).json();
    assert_eq!((&told["active"], text(&told["tokenKind"])), (&Value::Bool(true), "TOKEN_KIND_ACCESS"));
    assert_eq!((text(&told["subject"]), text(&told["clientId"])), ("alice", "cli"));
    assert_eq!(told["claims"], serde_json::json!({ "role": "admin", "level": 3.0 }));
    assert_eq!(told["sessionId"], first["sessionId"]);
    let person = client.run(&["token", "introspect", text(&first["accessToken"])]);
    assert!(person.out.contains("\nsubject:     alice\n") && person.out.contains("\"level\":3,"), "{person:?}");
    for (wants, active) in [(["--scope", "read"], true), (["--scope", "admin"], false), (["--aud", "other"], false)] {
        let ended = client.run(&[&["token", "introspect", text(&first["accessToken"])], &wants[..]].concat());
        assert_eq!(ended.code, Some(i32::from(!active)), "{ended:?}");
    }

    let second = client.run(&["token", "refresh", text(&first["refreshToken"]), "--scope", "read", "--json"]).json();
    let second = &second["tokens"];
    assert_ne!(second["refreshToken"], first["refreshToken"]);
    assert_eq!((&second["sessionId"], &second["scope"]), (&first["sessionId"], &serde_json::json!(["read"])));
    assert!(client.is_active(&second["accessToken"]) && client.is_active(&second["refreshToken"]));

    let revoked = client.run(&["token", "revoke", text(&second["refreshToken"]), "--json"]).json();
    assert!(!text(&revoked["revision"]).is_empty());
    for token in [&first["accessToken"], &second["accessToken"], &second["refreshToken"]] {
        assert!(!client.is_active(token));
    }
    let inactive = client.run(&["token", "introspect", text(&second["accessToken"]), "--json"]);
    assert!(
        inactive.out.starts_with("{\"active\":false,") && inactive.out.contains("\"subject\":\"\""),
        "{inactive:?}"
    );
    let over = client.run(&["token", "refresh", text(&second["refreshToken"]), "--json"]);
    over.failed(1, "(SESSION_ENDED)");
}

#[test]
fn sessions_are_listed_and_ended() {
    let server = ServerProcess::start(&[]);
    let client = Client::of(&server);
    let [laptop, phone, tablet] =
        ["laptop", "phone", "tablet"].map(|device| client.issue(&["--subject", "alice", "--device", device]));
    let devices = || {
        let list = client.run(&["session", "list", "--subject", "alice", "--json"]).json();
        assert_eq!(text(&list["nextPageToken"]), "");
        let sessions = list["sessions"].as_array().expect("a list").iter();
        sessions.map(|session| text(&session["device"]["deviceId"]).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(devices().len(), 3);
    assert_eq!(client.run(&["session", "revoke", text(&laptop["sessionId"])]).code, Some(0));
    assert!(!devices().contains(&"laptop".to_owned()) && !client.is_active(&laptop["accessToken"]));
    let except = ["session", "revoke-all", "--subject", "alice", "--except", text(&tablet["sessionId"]), "--json"];
    assert_eq!(client.run(&except).json()["revokedCount"], 1);
    assert_eq!(devices(), ["tablet"]);
    assert!(client.is_active(&tablet["accessToken"]) && !client.is_active(&phone["accessToken"]));
    assert_eq!(client.run(&["session", "list", "--subject", "nobody"]).out, "no live sessions\n");
}

#[test]
fn keys_are_listed_and_hurried() {
    let server = ServerProcess::start(&[]);
    let client = Client::of(&server);
    let in_state = |state: &str| {
        let list = client.run(&["keys", "list", "--state", state, "--json"]).json();
        list["keys"].as_array().expect("a list").iter().map(|key| text(&key["keyId"]).to_owned()).collect::<Vec<_>>()
    };
    let (active, standby) = (in_state("active"), in_state("prepared"));
    assert_eq!((active.len(), standby.len()), (1, 1));
    client.run(&["keys", "activate", "--json"]).failed(1, "(KEY_STATE_CONFLICT)");
    client.run(&["keys", "activate", "nonsense"]).failed(1, "(UNKNOWN_KEY)");
    client.run(&["keys", "prepare", "--algorithm", "ES256"]).failed(1, "keys of: RS256");

    let token = client.issue(&["--subject", "alice"])["accessToken"].clone();
    let activated = client.run(&["keys", "activate", &standby[0], "--now", "--json"]).json();
    assert_eq!(
        (text(&activated["key"]["keyId"]), text(&activated["key"]["state"])),
        (&*standby[0], "KEY_STATE_ACTIVE")
    );
    assert_eq!((in_state("active"), in_state("retiring")), (standby.clone(), active.clone()));
    assert!(client.is_active(&token), "a retiring key's tokens live");
    let person = client.run(&["keys", "retire", &active[0]]);
    assert!(person.out.contains("state:         retiring\n") && person.out.contains("remove_time:"), "{person:?}");

    let revoked = client.run(&["keys", "revoke", &active[0], "--reason", "leaked", "--json"]).json();
    assert_eq!(text(&revoked["key"]["state"]), "KEY_STATE_REVOKED");
    assert!(!text(&revoked["revision"]).is_empty() && !client.is_active(&token));

    let prepared = || client.run(&["keys", "prepare", "--request-id", "once", "--json"]).json()["key"]["keyId"].clone();
    assert_eq!(prepared(), prepared());
    let page = client.run(&["keys", "list", "--page-size", "1", "--json"]).json();
    let next = client.run(&["keys", "list", "--page-token", text(&page["nextPageToken"]), "--json"]).json();
    assert!(page["keys"][0]["createTime"].as_str() >= next["keys"][0]["createTime"].as_str(), "newest first");
    assert_ne!(page["keys"][0], next["keys"][0]);
}

#[test]
fn a_key_made_elsewhere_is_imported_and_signs() {
    let directory = TempDir::new().expect("a directory");
    let store = format!("embedded:{}", directory.path().join("store").display());
    let realm = write(directory.path(), "r.toml", "[realm]\nname = \"default\"\nalgorithm = \"EdDSA\"\n");
    // RFC 8037, appendix A.1.
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let kid = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    let import = |algorithm: &str, file: &str, input: &str| {
        let settings = ["keys", "import", "--config", &realm, "--store", &store, "--json"];
        run_with(&[&settings[..], &["--algorithm", algorithm, file]].concat(), input.as_bytes(), &[])
    };
    let mut server = ServerProcess::start_in(directory.path(), &["--config", &realm]);
    import("EdDSA", "-", jwk).failed(1, "in use");
    server.terminate();
    import("ES256", "-", jwk).failed(1, "as ES256 key: not a valid key");
    import("EdDSA", "-", "secret").failed(1, "it holds no private key");
    import("EdDSA", "/nowhere", "").failed(1, "/nowhere can't be read");
    import("EdDSA", "-", &format!("{jwk}{}", " ".repeat(1 << 20))).failed(1, "longer than");
    let file = write(directory.path(), "key.jwk", jwk);
    let key = import("EdDSA", &file, "").json()["key"].clone();
    assert_eq!((text(&key["keyId"]), text(&key["state"])), (kid, "KEY_STATE_PREPARED"));
    assert_eq!(import("EdDSA", "-", jwk).json()["key"], key, "again");

    let server = ServerProcess::start_in(directory.path(), &["--config", &realm]);
    let client = Client::of(&server);
    assert_eq!(client.run(&["keys", "activate", kid, "--now"]).code, Some(0));
    assert!(client.is_active(&client.issue(&["--subject", "alice"])["accessToken"]));
    let active = client.run(&["keys", "list", "--state", "active", "--json"]).json();
    assert_eq!(text(&active["keys"][0]["keyId"]), kid);
}

#[test]
fn a_key_encryption_key_is_exchanged() {
    let directory = TempDir::new().expect("a directory");
    let key = |name: &str, byte: &str| {
        let file = write(directory.path(), name, &byte.repeat(32));
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a mode");
        file
    };
    let (old, new, third) = (key("old", "5a"), key("new", "5b"), key("third", "5c"));
    let start = |arguments: &[&str]| ServerProcess::start_in(directory.path(), arguments);
    let mut server = start(&["--key-file", &old]);
    let token = Client::of(&server).issue(&["--subject", "alice"])["accessToken"].clone();
    let store = format!("embedded:{}", directory.path().join("store").display());
    let rewrap = |key: &str, previous: &str| {
        run(&["keys", "rewrap", "--store", &store, "--key-file", key, "--previous-key-file", previous, "--json"])
    };
    rewrap(&new, &old).failed(1, "in use");
    server.terminate();

    // An embedded store is sealed anew by the server that starts with both.
    let mut server = start(&["--key-file", &new, "--previous-key-file", &old, "--public-url", "http://ta.example"]);
    assert!(Client::of(&server).is_active(&token));
    server.terminate();
    let (status, stderr) = ServerProcess::fails_to_start(directory.path(), &["--key-file", &old]);
    assert!(status.code() == Some(1) && stderr.contains("wrong key-encryption key"), "{stderr}");

    // Or by hand while none runs.
    rewrap(&third, &old).failed(1, "wrong key-encryption key");
    assert_eq!(rewrap(&third, &new).json()["rewrapped"], true);
    assert_eq!(rewrap(&third, &new).json()["rewrapped"], false);
    let server = start(&["--key-file", &third]);
    assert!(Client::of(&server).is_active(&token));

    run(&["keys", "rewrap", "--store", "embedded:/nowhere", "--key-file", &new]).failed(1, "no store in /nowhere");
    run(&["keys", "rewrap", "--store", &store, "--key-file", &new]).failed(1, "--previous-key-file");
}

#[test]
fn a_refusal_says_why_on_standard_error() {
    let server = ServerProcess::start(&[]);
    let client = Client::of(&server);
    let refused = client.run(&["token", "issue", "--subject", "", "--json"]);
    refused.failed(1, "(INVALID_REQUEST)");
    assert!(refused.err.lines().any(|line| line.starts_with("  subject: ")), "{refused:?}");
    client.run(&["token", "refresh", "nonsense", "--json"]).failed(1, "(REFRESH_TOKEN_INVALID)");
    client.run(&["--realm", "nowhere", "token", "issue", "--subject", "alice"]).failed(1, "(UNKNOWN_REALM)");
    assert_eq!(client.run(&["token", "introspect", "nonsense"]).code, Some(1));
    assert_eq!(client.run(&["token", "revoke", "nonsense"]).code, Some(0), "RFC 7009, section 2.2");
}

#[test]
fn a_token_comes_from_standard_input_within_a_bound() {
    let server = ServerProcess::start(&[]);
    let client = Client::of(&server);
    let tokens = client.issue(&["--subject", "alice"]);
    let line = format!("{}\n", text(&tokens["accessToken"]));
    assert_eq!(client.run_with_input(&["token", "introspect", "-"], line.as_bytes()).code, Some(0));
    for call in ["introspect", "refresh", "revoke"] {
        let refused = client.run_with_input(&["token", call, "-"], "secret".repeat(1 << 18).as_bytes());
        refused.failed(1, "longer than 16384 bytes");
        assert!(refused.err.len() < 200 && !refused.err.contains("secret"), "{refused:?}");
    }
    client.run(&["token", "introspect", &"t".repeat(100_000)]).failed(1, "longer than 16384 bytes");
    client.run(&["token", "introspect", "-"]).failed(1, "empty");
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &["token", "introspect"][..],
        &["token", "issue", "--subject", "a", "--claim", "role=admin"],
        &["serve", "--grpc", "localhost"],
        &["serve", "--json"],
        &["nonsense"],
        &["session", "list", "--subject", "a", "--nonsense"],
    ] {
        run(arguments).failed(2, "");
    }
    let claim = run(&["token", "issue", "--subject", "a", "--claim", "role=admin"]);
    assert!(claim.err.contains("role='\"admin\"'"), "{claim:?}");
}

#[test]
fn no_answer_is_3() {
    // A port that nobody listens on, since its listener is gone at once.
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    for arguments in [
        &["token", "issue", "--subject", "a"][..],
        &["token", "introspect", "t"],
        &["session", "list", "--subject", "a", "--json"],
        &["keys", "list"],
        &["healthcheck"],
    ] {
        run(&[arguments, &["--endpoint", &endpoint]].concat()).failed(3, "can't be reached");
    }

    // Something else than gRPC.
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let web = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 24]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    });
    run(&["token", "introspect", "t", "--endpoint", &endpoint]).failed(3, &endpoint);
    web.join().expect("no panic");
}

#[test]
fn a_wrong_configuration_is_1_and_says_where() {
    let directory = TempDir::new().expect("a directory");
    let typo = write(directory.path(), "typo.toml", "[server]\ngrpc = \"127.0.0.1:0\"\nhtpp = \"127.0.0.1:0\"\n");
    let at = format!("{typo}:3: server.htpp: unknown key \"htpp\": did you mean \"http\"?\n");
    run(&["check-config", &typo]).failed(1, &at);
    run(&["serve", "--config", &typo]).failed(1, &at);

    let good = write(directory.path(), "good.toml", "[realm]\nname = \"web\"\naccess_lifetime = \"10m\"\n");
    let checked = run(&["check-config", &good]);
    assert_eq!((checked.code, checked.out), (Some(0), format!("{good}: ok (realms: default, web)\n")));
    let both = run(&["check-config", &good, &typo]);
    assert!(both.code == Some(1) && both.out.contains(&good) && both.err.contains(&at), "{both:?}");

    run(&["check-config", "/nowhere.toml"]).failed(1, "/nowhere.toml: can't be read");
    let bad = run_with(&["serve"], b"", &[("TOKEN_AUTHORITY__SERVER__HTTP", "8080")]);
    bad.failed(1, "TOKEN_AUTHORITY__SERVER__HTTP: \"8080\": must be an IP address with a port");
}

#[test]
fn what_cannot_be_served_is_1_and_names_the_flag() {
    let directory = TempDir::new().expect("a directory");
    let occupied = TcpListener::bind("127.0.0.1:0").expect("binds");
    let taken = occupied.local_addr().expect("an address").to_string();
    for (arguments, says) in [
        (["--grpc", "0.0.0.0:0"], "--insecure"),
        (["--http", "[::]:0"], "--http: [::]:0 is reachable from other machines"),
        (["--grpc", taken.as_str()], taken.as_str()),
        (["--store", "redis://:secret@127.0.0.1:1"], "--key-file"),
        (["--config", "/nowhere.toml"], "/nowhere.toml"),
        (["--realms", "/nowhere"], "--realms: /nowhere"),
        (["--key-file", "/nowhere/kek"], "/nowhere/kek"),
    ] {
        let (status, stderr) = ServerProcess::fails_to_start(directory.path(), &arguments);
        assert_eq!(status.code(), Some(1), "{arguments:?}: {stderr}");
        let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains(says) && !stderr.contains("secret"), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("listening"), "{stderr}");
    }
}

#[test]
fn a_realm_file_is_a_configuration() {
    let directory = TempDir::new().expect("a directory");
    let realm = "[realm]\nname = \"web\"\nalgorithm = \"EdDSA\"\naccess_lifetime = \"5m\"\nscopes = [\"read\"]\n";
    let file = write(directory.path(), "web.toml", realm);
    let server = ServerProcess::start_in(directory.path(), &["--config", &file]);
    let client = Client::of(&server);
    let tokens = client.issue(&["--realm", "web", "--subject", "alice", "--scope", "read"]);
    let told = client.run(&["--realm", "web", "--json", "token", "introspect", text(&tokens["accessToken"])]).json();
    assert_eq!(told["audience"], serde_json::json!(["web"]));
    assert!(text(&told["issuer"]).ends_with("/realms/web"), "{told}");
    let refused = client.run(&["token", "issue", "--realm", "web", "--subject", "alice", "--scope", "write"]);
    refused.failed(1, "(SCOPE_NOT_GRANTED)");
    // `default` exists beside it, and knows no token of it.
    assert_eq!(client.run(&["token", "introspect", text(&tokens["accessToken"])]).code, Some(1));
    client.issue(&["--subject", "alice", "--scope", "write"]);
}

#[test]
fn a_health_check_asks_the_server() {
    let server = ServerProcess::start(&[]);
    let client = Client::of(&server);
    assert_eq!(client.run(&["healthcheck"]).out, "SERVING\n");
    assert_eq!(client.run(&["healthcheck", "--service", "readiness", "--json"]).json()["status"], "SERVING");
    client.run(&["healthcheck", "--service", "nonsense"]).failed(1, "(NotFound)");
}

#[test]
fn a_server_in_json_says_one_line_that_is_not() {
    let server = ServerProcess::start(&["--log-format", "json"]);
    for line in server.stderr_lines() {
        assert!(line.starts_with("listening grpc=127.0.0.1:") || line.starts_with('{'), "{line}");
    }
}

#[test]
fn the_demo_tells_a_true_story() {
    let demo = run(&["demo"]);
    assert_eq!((demo.code, demo.err.as_str()), (Some(0), ""), "{demo:?}");
    let steps = demo.out.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(steps.count(), 7, "{}", demo.out);
    assert!(demo.out.lines().all(|line| line.chars().count() <= 100) && demo.out.lines().count() <= 24);
}

#[test]
fn the_manual_and_completions_know_every_command() {
    let directory = TempDir::new().expect("a directory");
    let into = directory.path().to_str().expect("UTF-8");
    assert_eq!(run(&["man", "--directory", into]).code, Some(0));
    for page in ["token-authority.1", "token-authority-serve.1", "token-authority-token-issue.1"] {
        assert!(directory.path().join(page).exists(), "{page}");
    }
    assert!(run(&["man"]).out.contains("token\\-authority"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert!(script.code == Some(0) && script.out.contains("check-config"), "{shell}");
    }
    assert_eq!(run(&["version"]).out, format!("token-authority {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(run(&["--help"]).code, Some(0));
}

#[test]
fn a_new_secret_comes_with_its_hash_and_is_another_each_time() {
    let made = || {
        let ended = run(&["client-secret"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let word = |name: &str| {
            let found = ended.out.lines().find_map(|line| line.strip_prefix(name)).map(|word| word.trim().to_owned());
            found.unwrap_or_else(|| panic!("no {name}: {ended:?}"))
        };
        (word("secret"), word("hash"))
    };
    let (secret, hash) = made();
    assert_eq!(SecretHash::of(&secret).expect("long enough").to_string(), hash);
    assert_ne!(made().0, secret);
}
