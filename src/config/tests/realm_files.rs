//! What a realm says of itself, and the bounds of each of its keys.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{error, load};
use crate::config::*;
use crate::domain::algorithm::Algorithm;
use crate::domain::device::{DevicePolicy, OnChange, Silent, Untrusted};
use crate::domain::ids::{Audience, ClientId, Scope};
use crate::domain::own_claims::{ClaimType, OwnClaim, OwnClaims, Presence};
use crate::domain::policy::{AtLimit, Rotation};
use crate::domain::token_profile::{SaidBy, TokenProfile};

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
        ("[realm.devices]\nsilent = \"allow\"", "must be \"same\" or \"refuse\""),
        ("[realm.devices]\nuntrusted = false", "\"allow\""),
        ("[realm.devices]\nuntrusted_access_lifetime = \"16m\"", "not be longer than access_lifetime = 15m"),
        ("[realm.devices]\nuntrusted_session_lifetime = \"8d\"", "not be longer than session_lifetime = 7days"),
        ("[realm.devices]\nremember = \"91d\"", "from 0s to "),
        ("[realm.devices]\nremembr = \"1d\"", "did you mean \"remember\"?"),
        ("[realm.keys]\nlifetme = \"90d\"", "did you mean \"lifetime\"?"),
        ("[realm.otp]\ndelivery = \"log\"\nattempts = 0", "must be a whole number from 1 to 10"),
        ("[realm.otp]\ndelivery = \"log\"\nmax_failures = 101", "must be a whole number from 10 to 100"),
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
        silent = "refuse"
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
        silent: Silent::Refuse,
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
