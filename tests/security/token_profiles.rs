//! Tokens of one profile in a realm of another: which claims a token has is its realm's word, and no token
//! says less, or more, by its own.

use std::sync::Arc;

use serde_json::{Value, json};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::{Audience, ClientId, Route};
use token_authority::domain::token_profile::{OptionalClaim, SaidBy, TokenProfile};
use token_authority::verify::Rejection;

use crate::forge::{Forge, ISSUER, NOW, realm, sid, token_id};

const ALG: Algorithm = Algorithm::Hs256;

fn bare() -> Arc<TokenProfile> {
    Arc::new(TokenProfile {
        subject_claim: "user_id".to_owned(),
        issuer: SaidBy::Realm(()),
        audience: SaidBy::Realm(Audience::parse("api").unwrap()),
        client: SaidBy::Realm(ClientId::parse("app").unwrap()),
        scope: SaidBy::Realm(()),
        session: SaidBy::Realm(()),
        confirmation: SaidBy::Realm(()),
    })
}

fn bare_payload() -> Value {
    let jti = token_id(Route::Session(sid())).to_string();
    json!({ "user_id": "alice", "role": "user", "jti": jti, "iat": NOW.seconds(), "exp": NOW.seconds() + 900 })
}

fn with(mut payload: Value, name: &str, value: Value) -> Value {
    payload[name] = value;
    payload
}

fn sign(forge: &Forge, payload: &Value) -> String {
    forge.signed(ALG, forge.header(ALG).to_string(), payload.to_string())
}

fn profile(forge: &Forge, profile: Arc<TokenProfile>) {
    forge.issuers.set(realm("web"), [ISSUER.to_owned()], profile);
}

#[test]
fn a_bare_token_is_read_with_what_its_realm_says() {
    let forge = Forge::new();
    profile(&forge, bare());
    let read = forge.verify(&sign(&forge, &bare_payload())).unwrap();
    assert_eq!((read.subject.as_str(), read.client.as_str(), read.issuer.as_str()), ("alice", "app", ISSUER));
    assert_eq!((read.audience.len(), read.audience[0].as_str(), read.session), (1, "api", Some(sid())));
    assert!(read.scope.is_empty() && read.confirmation.is_none());
}

#[test]
fn no_bare_token_says_what_its_realm_says_already() {
    let forge = Forge::new();
    profile(&forge, bare());
    let full = forge.payload();
    let cnf = json!({ "jkt": "A".repeat(43) });
    let names = OptionalClaim::ALL.map(OptionalClaim::name);
    for name in names.into_iter().chain(["sub"]) {
        let value = full.get(name).unwrap_or(&cnf).clone();
        forge.refuses(name, &sign(&forge, &with(bare_payload(), name, value)), Rejection::InvalidClaim(name));
    }
    for (name, value) in [("user_id", json!(7)), ("user_id", Value::Null), ("user_id", json!(""))] {
        forge.refuses(name, &sign(&forge, &with(bare_payload(), name, value)), Rejection::InvalidClaim("sub"));
    }
    // Nothing leads to its session, so no end of that would reach it.
    let astray = with(bare_payload(), "jti", json!(token_id(Route::BySid).to_string()));
    forge.refuses("no session", &sign(&forge, &astray), Rejection::InvalidClaim("sid"));
}

#[test]
fn a_full_realm_takes_no_bare_token() {
    let forge = Forge::new();
    forge.refuses("bare", &sign(&forge, &bare_payload()), Rejection::InvalidClaim("iss"));
    let renamed = with(forge.payload(), "user_id", json!("alice"));
    let mut renamed = renamed.as_object().unwrap().clone();
    renamed.remove("sub");
    forge.refuses("renamed", &sign(&forge, &Value::Object(renamed)), Rejection::InvalidClaim("sub"));
    let in_jti = token_id(Route::Session(sid())).to_string();
    forge.refuses("both", &sign(&forge, &with(forge.payload(), "jti", json!(in_jti))), Rejection::InvalidClaim("sid"));
}

#[test]
fn a_known_token_is_read_anew_once_the_profile_changes() {
    let forge = Forge::new();
    let (full, plain) = (forge.token(ALG), sign(&forge, &bare_payload()));
    assert!(forge.verify(&full).is_ok());
    profile(&forge, bare());
    forge.refuses("full", &full, Rejection::InvalidClaim("iss"));
    assert!(forge.verify(&plain).is_ok());
    profile(&forge, Arc::default());
    assert!(forge.verify(&full).is_ok());
    forge.refuses("bare", &plain, Rejection::InvalidClaim("iss"));
}
