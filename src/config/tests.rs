//! What a configuration says and how a wrong one is refused, as its reader sees it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::domain::algorithm::Algorithm;
use crate::domain::client::{GrantType, Role};
use crate::domain::device::{DevicePolicy, OnChange, Untrusted};
use crate::domain::ids::{Audience, ClientId, Scope};
use crate::domain::own_claims::{ClaimType, OwnClaim, OwnClaims, Presence};
use crate::domain::policy::{Allowed, AtLimit, Rotation};
use crate::domain::token_profile::{SaidBy, TokenProfile};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/token-authority.toml");

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::new(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

/// Loads a file of this text; an error without the directory, which changes.
fn load(text: &str, variables: &[(&str, &str)], flags: Flags) -> Result<Config, String> {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("c.toml");
    fs::write(&file, text).expect("writes");
    let flags = Flags { config: Some(file), ..flags };
    let prefix = format!("{}/", directory.path().display());
    Config::load(flags, &environment(variables)).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn error(text: &str) -> String {
    load(text, &[], Flags::default()).expect_err(text)
}

#[test]
fn nothing_said_is_the_default() {
    let config = Config::load(Flags::default(), &Environment::default()).expect("loads");
    assert_eq!(config, Config::default());
    assert_eq!(load("", &[], Flags::default()), Ok(config.clone()));
    let realm = config.realms.first().expect("the default realm");
    assert_eq!(realm.realm.as_str(), "default");
    assert_eq!(realm.default_audience.as_str(), "default");
    assert_eq!(realm.default_client.as_ref().map(ClientId::as_str), Some("cli"));
    assert_eq!((realm.algorithm, &realm.audiences), (Algorithm::Rs256, &Allowed::Any));
}

#[test]
fn the_example_names_every_key_and_says_the_defaults() {
    let text = fs::read_to_string(EXAMPLE).expect("the example");
    let config = Config::load(Flags { config: Some(EXAMPLE.into()), ..Flags::default() }, &Environment::default());
    assert_eq!(config.expect("loads"), Config::default());

    // What has no default stands in a comment; with an example of it, it loads as well.
    let spelled: String = text.lines().map(|line| format!("{}\n", line.strip_prefix("#= ").unwrap_or(line))).collect();
    let directory = TempDir::new().expect("a directory");
    fs::create_dir(directory.path().join("realms")).expect("a directory");
    fs::write(directory.path().join("realms/a.toml"), "[realm]\nname = \"a\"\n").expect("writes");
    let spelled = spelled.replace("\"realms\"", &format!("{:?}", directory.path().join("realms")));
    load(&spelled, &[], Flags::default()).expect("loads with every key");
    let of_realm = [
        (realm::REALM, &realm::KEYS[..]),
        ("realm.keys", &realm_keys::KEYS[..]),
        ("realm.devices", &devices::KEYS[..]),
        ("realm.rate_limits", &rate_limits::KEYS[..]),
        ("realm.otp", &otp::KEYS[..]),
        ("realm.messages", &messages::KEYS[..]),
        ("[realm.clients]", &client::KEYS[..]),
    ];
    // In place of another key, so they can't be spelled out beside it.
    for key in claims::KEYS {
        assert!(text.lines().any(|line| line.starts_with(&format!("#   {key} "))), "realm.claims.NAME.{key}");
    }
    for (section, keys) in layers::SECTIONS.iter().copied().chain(of_realm) {
        let table = spelled.split(&format!("\n[{section}]\n")).nth(1).expect(section);
        let table = table.split("\n[").next().unwrap_or_default();
        for key in keys {
            assert!(table.lines().any(|line| line.starts_with(&format!("{key} = "))), "{section}.{key}");
        }
    }
}

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
fn each_key_of_a_realm_has_bounds() {
    let key = |line: &str| error(&format!("[realm]\nname = \"a\"\n{line}\n"));
    for (line, says) in [
        ("algorithm = \"none\"", "must be \"RS256\" or "),
        ("access_lifetime = \"soon\"", "such as \"90s\", \"15m\", \"8h\" or \"7d\", from 1s to 1day, in whole seconds"),
        ("access_lifetime = 900", "in quotes"),
        ("access_lifetime = \"0s\"", "from 1s"),
        ("access_lifetime = \"25h\"", "to 1day"),
        ("access_lifetime = \"1500ms\"", "in whole seconds"),
        ("session_lifetime = \"1m\"", "session_lifetime = 1m must not be shorter than access_lifetime = 15m"),
        ("session_lifetime = \"366d\"", "to 11months 30days"),
        ("remember_me_lifetime = \"1d\"", "1day must not be shorter than session_lifetime = 7days"),
        ("idle_timeout = \"never\"", "or \"none\""),
        ("idle_timeout = \"31d\"", "it would never apply"),
        ("reuse_leeway = \"61s\"", "from 0s to 1m, in whole milliseconds"),
        ("rotation = \"always\"", "must be \"each-use\" or \"off\""),
        ("max_sessions = 0", "from 1 to 1000"),
        ("max_sessions = 1001", "from 1 to 1000"),
        ("max_sessions = -1", "from 1 to 1000"),
        ("max_sessions = \"5\"", "from 1 to 1000"),
        ("at_limit = \"evict\"", "must be \"refuse\" or \"evict-oldest\" or \"evict-idlest\""),
        ("audiences = []", "at least one audience"),
        ("audiences = \"api\"", "must be \"any\" or a list"),
        ("default_audience = \"\"", "1 to 255 bytes"),
        ("audiences = [\"a\"]\ndefault_audience = \"b\"", "\"b\" is not one of audiences"),
        ("scopes = [\"a b\"]", "\"a b\": scope must be"),
        ("scopes = [1]", "must be \"any\" or a list"),
        ("claims = [\"sub\"]", "\"sub\" is a registered claim"),
        ("claims = 1", "or tables: [realm.claims.NAME]"),
        ("claims = { role = \"string\" }", "must be a table, such as { type = \"string\", required = true }"),
        ("[realm.claims.aud]", "\"aud\" is a registered claim"),
        ("[realm.claims.role]\ntype = \"text\"", "\"text\": must be \"any\" or \"string\" or "),
        ("[realm.claims.role]\nrequired = \"yes\"", "must be true or false"),
        ("[realm.claims.role]\nrequire = true", "did you mean \"required\"?"),
        ("registered_claims = [\"jti\"]", "\"jti\": must be \"iss\" or \"aud\" or "),
        ("registered_claims = \"none\"", "must be \"all\" or a list of \"iss\", \"aud\", "),
        (
            "audiences = [\"a\", \"b\"]\nscopes = []\nregistered_claims = []",
            "\"aud\" can be left out only where audiences is",
        ),
        (
            "audiences = [\"a\"]\nscopes = [\"s\"]\nregistered_claims = []",
            "\"scope\" can be left out only where scopes = []",
        ),
        (
            "default_client = \"none\"\nregistered_claims = [\"aud\", \"scope\"]",
            "\"client_id\" can be left out only where default_client names",
        ),
        ("subject_claim = \"jti\"", "\"jti\" is a registered claim"),
        ("claims = [\"id\"]\nsubject_claim = \"id\"", "\"id\" is one of claims"),
        ("default_client = \"\"", "or \"none\""),
        ("keys = \"90d\"", "must be a table: [realm.keys]"),
        ("[realm.messages]\nrefresh_invalid = \"\"", "message must be 1 to 255 printable ASCII"),
        ("[realm.messages]\naccess_invalid = \"a \\\"b\\\"\"", "without '\"' and '\\'"),
        ("[realm.messages]\nrevoked = \"gone\"", "access_invalid is missing"),
        ("[realm.messages]\nrevoke = \"gone\"", "did you mean \"revoked\"?"),
        ("[realm.keys]\nlifetime = \"never\"", "or \"none\""),
        ("[realm.keys]\nlifetime = \"59m\"", "from 1h to "),
        ("[realm.keys]\nlifetime = \"1h\"", "lifetime = 1h must be at least twice publish_ahead = 1h"),
        ("[realm.keys]\npublish_ahead = \"9m\"", "from 10m to 7days"),
        ("[realm.keys]\npublish_ahead = \"8d\"", "from 10m to 7days"),
        ("[realm.keys]\nalgorithms = [\"RS512\"]", "\"RS512\": must be \"RS256\" or "),
        ("[realm.keys]\nalgorithms = \"ES256\"", "must be a list of algorithms"),
        ("[realm.devices]\ntrust_lifetime = \"366d\"", "from 1s to "),
        ("[realm.devices]\non_change = \"warn\"", "\"note\""),
        ("[realm.devices]\nuntrusted = false", "\"allow\""),
        ("[realm.devices]\nuntrusted_access_lifetime = \"16m\"", "not be longer than access_lifetime = 15m"),
        ("[realm.devices]\nuntrusted_session_lifetime = \"8d\"", "not be longer than session_lifetime = 7days"),
        ("[realm.devices]\nremember = \"91d\"", "from 0s to "),
        ("[realm.devices]\nremembr = \"1d\"", "did you mean \"remember\"?"),
        ("[realm.keys]\nlifetme = \"90d\"", "did you mean \"lifetime\"?"),
        ("[realm.otp]\ndelivery = \"log\"\nattempts = 0", "must be a whole number from 1 to 10"),
        ("[realm.otp]\ndelivery = \"log\"\nlifetime = \"11m\"", "from 30s to 10m"),
        ("[realm.otp]\ndelivery = \"log\"\nrequests = \"none\"", "must be a limit"),
        ("[realm.otp]\nwebhook_secret_file = \"a\"\nwebhook_url = \"ftp://a/b\"", "http or https"),
        ("[realm.rate_limits]\nby_caller = 5", "such as \"30/1m\", from 1 to 1000000 in 1s to 1day"),
        ("[realm.rate_limits]\nby_caller = \"0/1s\"", "or \"none\""),
        ("[realm.rate_limits]\nby_caller = \"5/0s\"", "or \"none\""),
        ("[realm.rate_limits]\nby_caller = \"5/1500ms\"", "in whole seconds"),
        ("[realm.rate_limits]\nby_user = \"5/1s\"", "did you mean \"by_caller\"?"),
    ] {
        let error = key(line);
        let last = line.lines().count() + 2;
        assert!(error.contains(says) && error.starts_with(&format!("c.toml:{last}: realm.")), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn codes_need_a_way_to_users_and_the_log_is_none_but_for_development() {
    let otp = |keys: &str| format!("[realm]\nname = \"a\"\n[realm.otp]\n{keys}\n");
    let refused = |keys: &str| load(&otp(keys), &[], Flags::default()).expect_err(keys).to_string();
    let missing = "c.toml:3: realm.otp: webhook_url and webhook_secret_file are missing";
    for keys in ["", "webhook_url = \"https://a/b\"", "webhook_secret_file = \"a\""] {
        assert!(refused(keys).starts_with(missing), "{}", refused(keys));
    }
    assert!(refused("delivery = \"log\"\nwebhook_url = \"https://a/b\"").contains("takes no webhook"));
    let log = "delivery = \"log\"";
    assert_eq!(refused(log), "--dev: realm a: otp.delivery = \"log\" is for development, with --dev alone");
    let dev = || Flags { create_key: CreateKey::IfMissing, ..Flags::default() };
    let config = load(&otp(log), &[], dev()).expect("for development");
    let codes = config.realms[0].codes.clone().expect("codes");
    assert_eq!((codes.delivery, codes.attempts, codes.lockout), (CodeDelivery::Log, 3, Duration::from_secs(900)));
    let config = load(&otp("webhook_url = \"https://a/b\"\nwebhook_secret_file = \"s\""), &[], Flags::default());
    let delivery = config.expect("loads").realms[0].codes.clone().expect("codes").delivery;
    assert_eq!(delivery, CodeDelivery::Webhook { url: "https://a/b".to_owned(), secret_file: "s".into() });
}

#[test]
fn a_realm_file_says_it_all() {
    let text = r#"
        [realm]
        name = "web"
        algorithm = "EdDSA"
        access_lifetime = "15m"
        session_lifetime = "45d"
        idle_timeout = "30m"
        reuse_leeway = "0s"
        rotation = "off"
        max_sessions = 3
        at_limit = "refuse"
        audiences = ["z", "a"]
        scopes = []
        claims = ["role"]
        default_client = "none"

        [realm.keys]
        lifetime = "none"
        publish_ahead = "20m"
        algorithms = ["ES256", "EdDSA"]

        [realm.devices]
        trust_lifetime = "45d"
        on_change = "untrust"
        untrusted = "refuse"
        untrusted_access_lifetime = "5m"
        untrusted_session_lifetime = "1d"
        remember = "90d"
    "#;
    let config = load(text, &[], Flags::default()).expect("loads");
    assert_eq!(config.realm_names().map(RealmName::as_str).collect::<Vec<_>>(), ["default", "web"]);
    let web = &config.realms[1];
    assert_eq!(web.algorithm, Algorithm::EdDsa);
    assert_eq!(web.session_lifetime, Duration::from_secs(45 * 86_400));
    assert_eq!(web.remember_me_lifetime, web.session_lifetime, "never shorter than a session's");
    assert_eq!(web.idle_timeout, Some(Duration::from_secs(1800)));
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let devices = DevicePolicy {
        trust_lifetime: days(45),
        on_change: OnChange::Untrust,
        untrusted: Untrusted::Refuse,
        untrusted_access_lifetime: Some(Duration::from_secs(300)),
        untrusted_session_lifetime: Some(days(1)),
        remember: days(90),
    };
    assert_eq!(web.devices, devices);
    assert_eq!(web.reuse_leeway, Duration::ZERO);
    assert_eq!((web.rotation, web.max_sessions, web.at_limit), (Rotation::Off, 3, AtLimit::Refuse));
    assert_eq!(web.default_audience, Audience::parse("z").expect("an audience"), "the first as written");
    assert!(!web.scopes.contains(&Scope::parse("read").expect("a scope")));
    assert_eq!(web.claims, OwnClaims::Only([("role".to_owned(), OwnClaim::default())].into()));
    assert_eq!(*web.profile, TokenProfile::default());
    assert_eq!(web.default_client, None);
    assert_eq!((web.keys.lifetime, web.keys.publish_ahead), (None, Duration::from_secs(1200)));
    assert_eq!(web.key_algorithms().collect::<Vec<_>>(), [Algorithm::EdDsa, Algorithm::Es256]);
}

#[test]
fn a_realm_says_what_its_tokens_say() {
    let text = r#"
        [realm]
        name = "plain"
        audiences = ["api"]
        scopes = []
        registered_claims = []
        subject_claim = "user_id"

        [realm.claims]
        phone_number = { type = "string", required = true }

        [realm.claims.level]
        type = "integer"
    "#;
    let config = load(text, &[], Flags::default()).expect("loads");
    let plain = &config.realms[1];
    let profile = TokenProfile {
        subject_claim: "user_id".to_owned(),
        issuer: SaidBy::Realm(()),
        audience: SaidBy::Realm(Audience::parse("api").expect("an audience")),
        client: SaidBy::Realm(ClientId::parse("cli").expect("a client")),
        scope: SaidBy::Realm(()),
        session: SaidBy::Realm(()),
        confirmation: SaidBy::Realm(()),
    };
    assert_eq!(*plain.profile, profile);
    let phone = OwnClaim { kind: ClaimType::String, presence: Presence::Required };
    let level = OwnClaim { kind: ClaimType::Integer, presence: Presence::Optional };
    let claims = [("phone_number".to_owned(), phone), ("level".to_owned(), level)];
    assert_eq!(plain.claims, OwnClaims::Only(claims.into()));
    assert_eq!(
        load(&text.replace("[]\n        subject", "\"all\"\n        subject"), &[], Flags::default())
            .map(|config| config.realms[1].profile.client.clone()),
        Ok(SaidBy::Token)
    );
}

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

#[test]
fn nothing_listens_beyond_loopback_unless_said() {
    let far: Option<SocketAddr> = "0.0.0.0:50051".parse().ok();
    let refused = load("", &[], Flags { grpc: far, ..Flags::default() }).expect_err("refused");
    assert!(refused.starts_with("--grpc: 0.0.0.0:50051 is reachable") && refused.contains("--insecure"), "{refused}");
    let refused = error("[server]\nhttp = \"[::]:8080\"\n");
    assert!(refused.starts_with("c.toml:2: server.http: [::]:8080 is reachable"), "{refused}");
    let refused = error("[server]\nhttp = \"127.0.0.1:50051\"\n");
    assert!(refused.starts_with("c.toml:2: server.http: gRPC and HTTP would both listen"), "{refused}");

    let allowed = Flags { grpc: far, exposure: Some(Exposure::Insecure), ..Flags::default() };
    assert_eq!(load("", &[], allowed).expect("loads").exposure, Exposure::Insecure);
    let allowed = load("[server]\nhttp = \"[::]:8080\"\ninsecure = true\n", &[], Flags::default());
    assert_eq!(allowed.expect("loads").exposure, Exposure::Insecure);
}

#[test]
fn what_speaks_tls_may_be_reached_from_anywhere() {
    let far = "[server]\ngrpc = \"0.0.0.0:1\"\nhttp = \"0.0.0.0:2\"\nhealth = \"0.0.0.0:3\"\n";
    let tls = "[tls]\ncertificate = \"a\"\nkey = \"b\"\n";
    let config = load(&format!("{far}{tls}client_ca = \"c\"\n"), &[], Flags::default()).expect("loads");
    let modes = config.tls.map(|tls| (tls.grpc, tls.http));
    assert_eq!(modes, Some((TlsMode::Mutual, TlsMode::Mutual)), "the default with a client_ca");
    for (more, wrong) in [
        ("grpc = \"off\"\nhttp = \"off\"\n", vec![2, 3]),
        ("client_ca = \"c\"\nhttp = \"off\"\n", vec![3]),
        ("client_ca = \"c\"\ngrpc = \"off\"\n", vec![2]),
    ] {
        let refused = error(&format!("{far}{tls}{more}"));
        let lines: Vec<_> = refused.lines().filter(|line| line.contains("is reachable from other machines")).collect();
        let expected: Vec<_> = wrong.iter().map(|line| format!("c.toml:{line}: server.")).collect();
        assert!(lines.iter().zip(&expected).all(|(line, start)| line.starts_with(start)), "{more}: {refused}");
        assert_eq!((lines.len(), refused.lines().count()), (expected.len(), expected.len()), "{more}: {refused}");
    }
    for more in ["", "client_ca = \"c\"\ngrpc = \"optional\"\nhttp = \"server\"\n"] {
        assert!(load(&format!("{far}{tls}{more}"), &[], Flags::default()).is_ok(), "{more}");
    }
    let refused = error("[server]\nhealth = \"127.0.0.1:8080\"\n");
    assert!(refused.starts_with("c.toml:2: server.health: HTTP and health would both listen"), "{refused}");
}

#[test]
fn strangers_are_the_operator_only_where_there_are_none() {
    let anonymous = "[server]\nanonymous = \"operator\"\n";
    let config = load(anonymous, &[], Flags::default()).expect("on loopback");
    assert_eq!(config.anonymous, Some(AnonymousCalls::Operator));
    let tls = "[tls]\ncertificate = \"a\"\nkey = \"b\"\n";
    let refused = error(&format!("{anonymous}{tls}"));
    assert!(refused.starts_with("c.toml:2: server.anonymous: "), "{refused}");
    let insecure = Flags { exposure: Some(Exposure::Insecure), ..Flags::default() };
    assert!(load(&format!("{anonymous}{tls}"), &[], insecure).is_ok());
    let nobody = load("[server]\nanonymous = \"none\"\n", &[], Flags::default()).expect("loads");
    assert_eq!(nobody.anonymous, Some(AnonymousCalls::Nobody));
}

#[test]
fn a_cluster_is_described_whole_or_not_at_all() {
    let whole = "[kubernetes]\nissuer = \"https://c\"\naudience = \"a\"\njwks_url = \"http://127.0.0.1:1/jwks\"\n";
    let config = load(whole, &[], Flags::default()).expect("loads").kubernetes.expect("a cluster");
    assert_eq!(config.key_set, KeySetSource::Url("http://127.0.0.1:1/jwks".to_owned()));
    for wrong in [
        whole.replace("audience = \"a\"\n", ""),
        whole.replace("issuer = \"https://c\"\n", ""),
        whole.replace("http://127", "https://127"),
        whole.replace("jwks_url = \"http://127.0.0.1:1/jwks\"\n", ""),
    ] {
        assert!(error(&wrong).starts_with("c.toml:"), "{wrong}");
    }
}

#[test]
fn a_directory_of_realms_is_read_in_order() {
    let directory = TempDir::new().expect("a directory");
    let realms = |path: &Path| Flags { realms: Some(path.to_owned()), ..Flags::default() };
    let refused = |path: &Path| load("", &[], realms(path)).expect_err("refused");
    assert!(refused(&directory.path().join("no")).starts_with("--realms: "));
    assert!(refused(directory.path()).ends_with("holds no *.toml file"));

    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("writes");
    write("b.toml", "[realm]\nname = \"b\"\n");
    write("a.toml", "[realm]\nname = \"default\"\nalgorithm = \"EdDSA\"\n");
    write("README.md", "not a realm");
    let config = load("[realm]\nname = \"c\"\n", &[], realms(directory.path())).expect("loads");
    assert_eq!(config.realm_names().map(RealmName::as_str).collect::<Vec<_>>(), ["b", "c", "default"]);
    assert_eq!(config.realms[2].algorithm, Algorithm::EdDsa, "a file may define the default realm");

    write("c.toml", "[realm]\nname = \"b\"\n");
    assert!(refused(directory.path()).contains("realm \"b\" is defined at"));
    write("c.toml", "[server]\n[realm]\nname = \"d\"\n");
    assert!(refused(directory.path()).contains("c.toml:1: unknown table \"server\""));
    write("c.toml", "");
    assert!(refused(directory.path()).ends_with("a realm file must have a table [realm]"));
}

#[test]
fn a_client_is_read_with_what_it_may_and_how_it_proves_itself() {
    let hash = format!("sha256:{}", "ab".repeat(32));
    let jwk = "{ kty = \"OKP\", crv = \"Ed25519\", x = \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\" }";
    let file = format!(
        "[realm]\nname = \"a\"\naudiences = [\"api\", \"mail\"]\n\
         [[realm.clients]]\nid = \"gateway\"\nsecrets = [{hash:?}]\naudiences = [\"api\"]\nroles = [\"introspector\"]\n\
         [[realm.clients]]\nid = \"app\"\nkeys = [{jwk}]\nscopes = \"any\"\ngrants = [\"refresh_token\"]\n"
    );
    let config = load(&file, &[], Flags::default()).expect("loads");
    let [gateway, app] = config.clients[&RealmName::parse("a").expect("a realm")].as_slice() else { panic!("two") };
    assert_eq!((gateway.client.id.as_str(), gateway.secrets[0].to_string()), ("gateway", hash));
    assert_eq!(gateway.client.check_role(Role::Introspector), Ok(()));
    assert!(gateway.client.check_role(Role::SessionAdmin).is_err() && gateway.client.grants.is_empty());
    assert_eq!((&gateway.client.scopes, app.keys.len()), (&Allowed::Only([].into()), 1));
    assert_eq!((app.client.check_grant(GrantType::RefreshToken), &app.client.scopes), (Ok(()), &Allowed::Any));
    assert!(app.client.check_grant(GrantType::TokenExchange).is_err());
}

#[test]
fn a_wrong_client_is_refused_where_it_stands_and_no_secret_repeated() {
    let ok = format!("secrets = [\"sha256:{}\"]", "ab".repeat(32));
    for (lines, expected) in [
        ("id = \"a\"", "c.toml:3: realm.clients: a client needs secrets, keys, certificates"),
        (&format!("{ok}\n"), "c.toml:3: realm.clients: id is missing"),
        (
            &format!("id = \"a\"\n{ok}\nrole = 1"),
            "c.toml:6: realm.clients.role: unknown key \"role\": did you mean \"roles\"?",
        ),
        (
            &format!("id = \"a\"\n{ok}\ngrants = [\"password\"]"),
            "c.toml:6: realm.clients.grants: must be \"refresh_token\" or",
        ),
        (
            &format!("id = \"a\"\n{ok}\naudiences = [\"other\"]"),
            "c.toml:6: realm.clients.audiences: \"other\" is not one of the realm's",
        ),
        (
            &format!("id = \"a\"\n{ok}\n[[realm.clients]]\nid = \"a\"\n{ok}"),
            "c.toml:6: realm.clients: client \"a\" is there already",
        ),
        ("id = \"a\"\nsecrets = [\"hunter2\"]", "c.toml:5: realm.clients.secrets: must hold hashes"),
        ("id = \"a\"\nsecrets = \"hunter2\"", "c.toml:5: realm.clients.secrets: must be a list of 1 to 2"),
        (
            "id = \"a\"\nkeys = [{ kty = \"oct\", k = \"hunter2\" }]",
            "c.toml:5: realm.clients.keys: not a key of that algorithm",
        ),
    ] {
        let refused = error(&format!("realm.name = \"b\"\nrealm.audiences = [\"api\"]\n[[realm.clients]]\n{lines}\n"));
        assert!(refused.starts_with(expected) && !refused.contains("hunter2"), "{refused}");
    }
    let refused = error("[realm]\nname = \"b\"\nclients = 1\n");
    assert_eq!(refused, "c.toml:3: realm.clients: must be tables: [[realm.clients]]");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let refused = error("[server]\ngrpc = 1\nhtpp = 2\n[realm]\nname = \"a\"\nmax_sessions = 0\nrotation = 1\n");
    let lines: Vec<_> = refused.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(lines, ["c.toml:2", "c.toml:3", "c.toml:6", "c.toml:7"].map(String::from), "{refused}");
}
