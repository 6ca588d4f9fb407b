//! Which claims of their own a realm's subjects have: names, types, and which must be there.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// What the value of a claim must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClaimType {
    /// Whatever JSON can say.
    #[default]
    Any,
    /// A string.
    String,
    /// A number.
    Number,
    /// A number without a fraction.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// An array of strings.
    StringList,
}

impl ClaimType {
    /// Each.
    pub const ALL: [Self; 6] = [Self::Any, Self::String, Self::Number, Self::Integer, Self::Boolean, Self::StringList];

    /// As configuration and messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::StringList => "string-list",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::String => value.is_string(),
            Self::Number => value.is_number(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::StringList => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        }
    }
}

/// Whether a claim must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// It may.
    #[default]
    Optional,
    /// In each token.
    Required,
}

/// One claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnClaim {
    /// What it holds.
    pub kind: ClaimType,
    /// Whether it must be there.
    pub presence: Presence,
}

/// The claims of a realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnClaims {
    /// Whichever somebody sets.
    Any,
    /// These and no others, by name.
    Only(BTreeMap<String, OwnClaim>),
}

impl OwnClaims {
    /// Refuses the first claim that is missing, of a wrong type, or not the realm's. Never repeats a value.
    pub fn check(&self, members: &Map<String, Value>) -> Result<(), Refusal> {
        let Self::Only(known) = self else { return Ok(()) };
        let refused = |name: &str, problem| Err(Refusal::ClaimNotAllowed { field: format!("claims.{name}"), problem });
        if let Some(foreign) = members.keys().find(|name| !known.contains_key(*name)) {
            return refused(foreign, format!("is not allowed in this realm; allowed are: {}", names(known)));
        }
        for (name, OwnClaim { kind, presence }) in known {
            match (members.get(name), presence) {
                (Some(value), _) if !kind.fits(value) => {
                    return refused(name, format!("must be of type {} in this realm", kind.name()));
                }
                (None, Presence::Required) => {
                    return refused(name, format!("is missing: this realm requires it, of type {}", kind.name()));
                }
                (Some(_), _) | (None, Presence::Optional) => {}
            }
        }
        Ok(())
    }
}

fn names(known: &BTreeMap<String, OwnClaim>) -> String {
    const SHOWN: usize = 16;
    if known.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<_> = known.keys().map(String::as_str).take(SHOWN).collect();
    let more = if known.len() > shown.len() { ", and more" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(claims: &OwnClaims, members: &Value) -> Result<(), String> {
        claims.check(members.as_object().expect("an object")).map_err(|refused| refused.to_string())
    }

    #[test]
    fn each_type_takes_its_values_and_no_others() {
        let values = [json!("a"), json!(1), json!(1.5), json!(true), json!(["a"]), json!([1]), json!({}), json!(null)];
        for (kind, taken) in [
            (ClaimType::Any, &[0, 1, 2, 3, 4, 5, 6, 7][..]),
            (ClaimType::String, &[0]),
            (ClaimType::Number, &[1, 2]),
            (ClaimType::Integer, &[1]),
            (ClaimType::Boolean, &[3]),
            (ClaimType::StringList, &[4]),
        ] {
            let claims = OwnClaims::Only([("c".to_owned(), OwnClaim { kind, ..OwnClaim::default() })].into());
            let fits = |value: &Value| check(&claims, &json!({ "c": value })).is_ok();
            let found: Vec<_> = (0..values.len()).filter(|index| fits(&values[*index])).collect();
            assert_eq!(found, taken, "{}", kind.name());
        }
    }

    #[test]
    fn a_refusal_names_the_claim_and_what_is_allowed() {
        let role = OwnClaim { kind: ClaimType::String, presence: Presence::Required };
        let claims = OwnClaims::Only([("level".to_owned(), OwnClaim::default()), ("role".to_owned(), role)].into());
        assert_eq!(check(&claims, &json!({ "role": "user" })), Ok(()));
        for (members, problem) in [
            (json!({}), "claims.role is missing: this realm requires it, of type string"),
            (json!({ "role": 7 }), "claims.role must be of type string in this realm"),
            (
                json!({ "role": "user", "email": "x" }),
                "claims.email is not allowed in this realm; allowed are: level, role",
            ),
        ] {
            assert_eq!(check(&claims, &members), Err(problem.to_owned()));
        }
        let none = check(&OwnClaims::Only(BTreeMap::new()), &json!({ "a": 1 }));
        assert_eq!(none, Err("claims.a is not allowed in this realm; allowed are: none".to_owned()));
        assert_eq!(check(&OwnClaims::Any, &json!({ "a": 1 })), Ok(()));
    }
}
