//! What a realm's access tokens say: which registered claims, what the subject's is called, and which
//! claims subjects have of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::claims::REGISTERED;
use crate::domain::ids::{Audience, ClientId};
use crate::domain::own_claims::{ClaimType, OwnClaim, OwnClaims, Presence};
use crate::domain::policy::{Allowed, RealmPolicy};
use crate::domain::token_profile::{OptionalClaim, SUBJECT_CLAIM, SaidBy, TokenProfile};

use super::document::{Raw, Table};
use super::problem::{Origin, Problem};
use super::reader::Reader;
use super::realm::allowed;
use super::value;

/// Each key of a claim's own table.
pub(super) const KEYS: [&str; 2] = ["type", "required"];

/// Reads all of it. What a token leaves out has to be the same for all, so the rest of the realm comes first.
pub(super) fn read(reader: &mut Reader<'_>, policy: &mut RealmPolicy) {
    if let Some((origin, raw)) = reader.take("claims") {
        policy.claims = own(origin, raw, reader.problems).unwrap_or(OwnClaims::Any);
    }
    let mut subject_claim = SUBJECT_CLAIM.to_owned();
    let at = reader.set(&mut subject_claim, "subject_claim", |raw| match value::text(raw) {
        Some(SUBJECT_CLAIM) => Ok(SUBJECT_CLAIM.to_owned()),
        text => name(text.unwrap_or_default()),
    });
    let own = matches!(&policy.claims, OwnClaims::Only(own) if own.contains_key(&subject_claim));
    if let Some(at) = at.filter(|_| own) {
        reader.wrong(at, format!("{subject_claim:?} is one of claims: the subject's is not set by callers"));
    }
    let mut said = OptionalClaim::ALL.into_iter().collect();
    let at = reader.set(&mut said, "registered_claims", registered).unwrap_or_else(|| reader.head());
    let mut left_out = LeftOut { said, at, reader };
    let issuer = left_out.issuer();
    let (audience, client) = (left_out.audience(policy), left_out.client(policy));
    let (scope, session, confirmation) = (left_out.scope(policy), left_out.session(), left_out.confirmation());
    policy.profile = Arc::new(TokenProfile { subject_claim, issuer, audience, client, scope, session, confirmation });
}

/// What the claims that no token has are instead, for all of them.
struct LeftOut<'a, 'r> {
    said: BTreeSet<OptionalClaim>,
    at: Origin,
    reader: &'a mut Reader<'r>,
}

impl LeftOut<'_, '_> {
    fn issuer(&self) -> SaidBy {
        self.of(OptionalClaim::Issuer)
    }

    fn session(&self) -> SaidBy {
        self.of(OptionalClaim::Session)
    }

    fn confirmation(&self) -> SaidBy {
        self.of(OptionalClaim::Confirmation)
    }

    fn scope(&mut self, policy: &RealmPolicy) -> SaidBy {
        let none = matches!(&policy.scopes, Allowed::Only(scopes) if scopes.is_empty());
        let said = self.of(OptionalClaim::Scope);
        if !said.is_claim() && !none {
            self.wrong(OptionalClaim::Scope, "only where scopes = []");
        }
        said
    }

    fn audience(&mut self, policy: &RealmPolicy) -> SaidBy<Audience> {
        let one = matches!(&policy.audiences, Allowed::Only(audiences) if audiences.len() == 1);
        match self.of(OptionalClaim::Audience) {
            SaidBy::Token => SaidBy::Token,
            SaidBy::Realm(()) => {
                if !one {
                    self.wrong(OptionalClaim::Audience, "only where audiences is a list of one");
                }
                SaidBy::Realm(policy.default_audience.clone())
            }
        }
    }

    fn client(&mut self, policy: &RealmPolicy) -> SaidBy<ClientId> {
        match (self.of(OptionalClaim::Client), &policy.default_client) {
            (SaidBy::Realm(()), Some(client)) => SaidBy::Realm(client.clone()),
            (SaidBy::Realm(()), None) => {
                self.wrong(OptionalClaim::Client, "only where default_client names the one client");
                SaidBy::Token
            }
            (SaidBy::Token, _) => SaidBy::Token,
        }
    }

    fn of(&self, claim: OptionalClaim) -> SaidBy {
        if self.said.contains(&claim) { SaidBy::Token } else { SaidBy::Realm(()) }
    }

    fn wrong(&mut self, claim: OptionalClaim, when: &str) {
        let message = format!("{:?} can be left out {when}: it has to be the same for all tokens", claim.name());
        self.reader.wrong(self.at.clone(), message);
    }
}

fn registered(raw: &Raw) -> Result<BTreeSet<OptionalClaim>, String> {
    let names = OptionalClaim::ALL.map(|claim| (claim.name(), claim));
    match raw {
        Raw::List(items) => items
            .iter()
            .map(|item| value::one_of(item, &names).map_err(|allowed| format!("{item}: {allowed}")))
            .collect(),
        _ if value::text(raw) == Some("all") => Ok(OptionalClaim::ALL.into_iter().collect()),
        _ => {
            let names: Vec<_> = OptionalClaim::ALL.iter().map(|claim| format!("{:?}", claim.name())).collect();
            Err(format!("must be \"all\" or a list of {}", names.join(", ")))
        }
    }
}

/// `"any"`, a list of names, or a table a claim.
fn own(origin: Origin, raw: Raw, problems: &mut Vec<Problem>) -> Option<OwnClaims> {
    match (raw, &origin) {
        (Raw::Table(entries), Origin::File { file, .. }) => {
            let mut claims = BTreeMap::new();
            for entry in entries {
                let origin =
                    Origin::File { file: file.clone(), line: entry.line, key: format!("realm.claims.{}", entry.key) };
                let Raw::Table(keys) = entry.value else {
                    let message = "must be a table, such as { type = \"string\", required = true }".to_owned();
                    problems.push(Problem { origin, message: value::refused(&entry.value, message) });
                    continue;
                };
                if let Err(message) = name(&entry.key) {
                    problems.push(Problem { origin, message });
                    continue;
                }
                let name = format!("realm.claims.{}", entry.key);
                let table = Table { file: file.clone(), name, line: entry.line, entries: keys };
                claims.insert(entry.key, one(table, problems));
            }
            Some(OwnClaims::Only(claims))
        }
        (raw, _) => match allowed(&raw, name) {
            Ok(Allowed::Any) => Some(OwnClaims::Any),
            Ok(Allowed::Only(names)) => {
                Some(OwnClaims::Only(names.into_iter().map(|name| (name, OwnClaim::default())).collect()))
            }
            Err(message) => {
                let message = value::refused(&raw, format!("{message}; or tables: [realm.claims.NAME]"));
                problems.push(Problem { origin, message });
                None
            }
        },
    }
}

fn one(table: Table, problems: &mut Vec<Problem>) -> OwnClaim {
    let mut reader = Reader::new(table, &KEYS, problems);
    let mut claim = OwnClaim::default();
    let types = ClaimType::ALL.map(|kind| (kind.name(), kind));
    reader.set(&mut claim.kind, "type", |raw| value::one_of(raw, &types));
    reader.set(&mut claim.presence, "required", |raw| value::yes_or_no(raw, Presence::Required, Presence::Optional));
    reader.finish();
    claim
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err("claim must be 1 to 255 bytes without control characters".to_owned());
    }
    if REGISTERED.contains(&text) {
        return Err(format!("{text:?} is a registered claim that the authority sets itself"));
    }
    Ok(text.to_owned())
}
