//! `docs/realm-policy.md` has a line for each key of a realm, and for nothing else.

use std::collections::BTreeSet;

use super::{claims, client, devices, messages, otp, rate_limits, realm, realm_keys};

#[test]
fn each_key_of_a_realm_has_its_line() {
    let text = include_str!("../../docs/realm-policy.md");
    for (table, keys) in [
        ("[realm]", &realm::KEYS[..]),
        ("[realm.claims.NAME]", &claims::KEYS),
        ("[realm.keys]", &realm_keys::KEYS),
        ("[realm.devices]", &devices::KEYS),
        ("[realm.rate_limits]", &rate_limits::KEYS),
        ("[realm.otp]", &otp::KEYS),
        ("[realm.messages]", &messages::KEYS),
        ("[[realm.clients]]", &client::KEYS),
    ] {
        let section = text.split(&format!("\n## `{table}`\n")).nth(1).expect(table);
        let lines = section.split("\n## ").next().unwrap_or_default().lines();
        let named: BTreeSet<_> = lines.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(named, keys.iter().copied().collect(), "{table}");
    }
}
