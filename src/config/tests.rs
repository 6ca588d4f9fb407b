//! What a configuration says and how a wrong one is refused, as its reader sees it.

use std::ffi::OsString;
use std::fs;

use tempfile::TempDir;

use super::*;
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::ClientId;
use crate::domain::policy::Allowed;

mod clients;
mod exposure;
mod precedence;
mod problems;
mod realm_files;

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
