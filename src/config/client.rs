//! The clients of a realm: one table `[[realm.clients]]` each. Knows their keys and bounds, and what
//! they have to do with their realm's.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::domain::caller_name::{CertificateName, ServiceAccount};
use crate::domain::client::{Client, GrantType, Role};
use crate::domain::ids::{Audience, ClientId, InvalidName, Scope};
use crate::domain::policy::{Allowed, RealmPolicy};
use crate::verify::client::{RegisteredClient, SecretHash};
use crate::verify::keys::PublicKey;

use super::document::{Raw, Table};
use super::problem::{Origin, Problem};
use super::reader::Reader;
use super::realm::{allowed, parsed};
use super::value;

/// Where a realm's clients stand in its table.
pub(super) const CLIENTS: &str = "clients";

/// Each key of a client.
pub(super) const KEYS: [&str; 9] =
    ["id", "secrets", "keys", "certificates", "service_accounts", "grants", "audiences", "scopes", "roles"];

/// One in use, and one that replaces it.
const MOST_SECRETS: usize = 2;
const MOST_KEYS: usize = 8;
const MOST_NAMES: usize = 32;

/// Parses the clients of a realm; what is wrong is added to `problems`.
pub(super) fn clients(
    (origin, raw): (Origin, Raw),
    policy: &RealmPolicy,
    problems: &mut Vec<Problem>,
) -> Vec<RegisteredClient> {
    let mut clients: Vec<RegisteredClient> = Vec::new();
    let Raw::List(items) = raw else {
        problems.push(Problem { origin, message: "must be tables: [[realm.clients]]".to_owned() });
        return clients;
    };
    for item in items {
        let Some(table) = table(&origin, item) else {
            let message = "must be tables: [[realm.clients]]".to_owned();
            problems.push(Problem { origin: origin.clone(), message });
            continue;
        };
        let head = table.head();
        let Some(client) = client(table, policy, problems) else { continue };
        if let Some((name, other)) = shared_name(&client, &clients) {
            let message = format!("{name} names client {:?} already", other.as_str());
            problems.push(Problem { origin: head, message });
        } else if clients.iter().any(|other| other.client.id == client.client.id) {
            let message = format!("client {:?} is there already", client.client.id.as_str());
            problems.push(Problem { origin: head, message });
        } else {
            clients.push(client);
        }
    }
    clients
}

/// A name by which another client is known already: a caller is one client.
fn shared_name<'a>(client: &RegisteredClient, others: &'a [RegisteredClient]) -> Option<(String, &'a ClientId)> {
    others.iter().find_map(|other| {
        let certificate = client.certificates.iter().find(|name| other.certificates.contains(name));
        let account = client.service_accounts.iter().find(|name| other.service_accounts.contains(name));
        let name = certificate.map(ToString::to_string).or_else(|| account.map(ToString::to_string))?;
        Some((name, &other.client.id))
    })
}

/// The table of a client; it starts a line before its first key.
fn table(clients: &Origin, item: Raw) -> Option<Table> {
    let (Origin::File { file, line, key }, Raw::Table(entries)) = (clients, item) else { return None };
    let line = entries.iter().map(|entry| entry.line - 1).min().unwrap_or(*line);
    Some(Table { file: file.clone(), name: key.clone(), line, entries })
}

fn client(table: Table, policy: &RealmPolicy, problems: &mut Vec<Problem>) -> Option<RegisteredClient> {
    let before = problems.len();
    let mut reader = Reader::new(table, &KEYS, problems);
    let head = reader.head();
    if !reader.has("id") {
        reader.wrong(head.clone(), "id is missing: a client needs one, such as id = \"gateway\"".to_owned());
    }
    let id = reader.key("id", |raw| parsed(ClientId::parse(value::text(raw).unwrap_or_default())));
    let secrets = secrets(&mut reader);
    let keys = reader.key("keys", |raw| list(raw, MOST_KEYS, public_key)).unwrap_or_default();
    let certificates = reader.key("certificates", |raw| names(raw, CertificateName::parse)).unwrap_or_default();
    let service_accounts = reader.key("service_accounts", |raw| names(raw, ServiceAccount::parse)).unwrap_or_default();
    let grants = GrantType::ALL.map(|grant| (grant.name(), grant));
    let grants = reader.key("grants", |raw| list(raw, grants.len(), |item| value::one_of(item, &grants)));
    let roles = Role::ALL.map(|role| (role.name(), role));
    let roles = reader.key("roles", |raw| list(raw, roles.len(), |item| value::one_of(item, &roles)));
    let mut audiences = Allowed::Only(BTreeSet::new());
    let audiences_at =
        reader.set(&mut audiences, "audiences", |raw| allowed(raw, |text| parsed(Audience::parse(text))));
    let mut scopes = Allowed::Only(BTreeSet::new());
    let scopes_at = reader.set(&mut scopes, "scopes", |raw| allowed(raw, |text| parsed(Scope::parse(text))));
    within(&mut reader, audiences_at, &audiences, &policy.audiences);
    within(&mut reader, scopes_at, &scopes, &policy.scopes);
    let proofs = [secrets.len(), keys.len(), certificates.len(), service_accounts.len()];
    if reader.problems.len() == before && proofs.iter().all(|proofs| *proofs == 0) {
        let message = "a client needs secrets, keys, certificates or service_accounts to prove who it is: \
                       `token-authority client-secret` makes a secret";
        reader.wrong(head, message.to_owned());
    }
    reader.finish();
    let client = Client {
        id: id?,
        grants: grants.unwrap_or_default().into_iter().collect(),
        audiences,
        scopes,
        roles: roles.unwrap_or_default().into_iter().collect(),
    };
    (problems.len() == before).then_some(RegisteredClient { client, secrets, keys, certificates, service_accounts })
}

/// Refuses what the realm does not have: it would never apply.
fn within<T: Ord + ToString>(reader: &mut Reader<'_>, at: Option<Origin>, own: &Allowed<T>, realm: &Allowed<T>) {
    let Allowed::Only(own) = own else { return };
    let foreign = own.iter().find(|one| !realm.contains(one));
    if let (Some(at), Some(foreign)) = (at, foreign) {
        reader.wrong(at, format!("{:?} is not one of the realm's", foreign.to_string()));
    }
}

/// Never repeats what it refuses: that may be the secret itself.
fn secrets(reader: &mut Reader<'_>) -> Vec<SecretHash> {
    let Some((origin, raw)) = reader.take("secrets") else { return Vec::new() };
    list(&raw, MOST_SECRETS, secret).unwrap_or_else(|message| {
        reader.wrong(origin, message);
        Vec::new()
    })
}

fn secret(raw: &Raw) -> Result<SecretHash, String> {
    value::text(raw).and_then(SecretHash::parse).ok_or_else(|| {
        "must hold hashes such as \"sha256:9f86…\" with 64 hexadecimal digits, and no secret itself: \
         `token-authority client-secret` makes both"
            .to_owned()
    })
}

fn public_key(raw: &Raw) -> Result<PublicKey, String> {
    const EXPECTED: &str = "must hold public keys as JWK, such as { kty = \"OKP\", crv = \"Ed25519\", x = \"…\" }; \
                            RSA (with alg, 2048 bits or more), EC P-256 or Ed25519, without private members";
    let members = match raw {
        Raw::Table(entries) => {
            let text = |raw: &Raw| value::text(raw).map(Value::from);
            entries.iter().map(|entry| Some((entry.key.clone(), text(&entry.value)?))).collect::<Option<Map<_, _>>>()
        }
        _ => None,
    };
    let members = members.ok_or(EXPECTED)?;
    PublicKey::from_jwk(&members).map_err(|error| format!("{error}: {EXPECTED}"))
}

fn names<T>(raw: &Raw, parse: fn(&str) -> Result<T, InvalidName>) -> Result<Vec<T>, String> {
    list(raw, MOST_NAMES, |item| parsed(parse(value::text(item).unwrap_or_default())))
}

fn list<T>(raw: &Raw, most: usize, parse: impl Fn(&Raw) -> Result<T, String>) -> Result<Vec<T>, String> {
    match raw {
        Raw::List(items) if (1..=most).contains(&items.len()) => items.iter().map(parse).collect(),
        _ => Err(format!("must be a list of 1 to {most}")),
    }
}
