//! Many tokens of many policies, as the signer writes them, each held against one schema.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::claims::Claims;
use token_authority::domain::ids::{KeyNumber, Sid, TokenId};
use token_authority::domain::policy::{Lifetime, RealmPolicy};
use token_authority::domain::time::Timestamp;
use token_authority::domain::transition::Grant;
use token_authority::signing::Signer;

use super::session_rules::{SessionRules, login};
use crate::forge::{ISSUER, new_key, realm};

const REQUIRED: [&str; 7] = ["iss", "sub", "aud", "client_id", "exp", "iat", "jti"];

fn object(part: &str) -> Map<String, Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// RFC 9068, section 2, and what this authority adds; no member but these.
fn fits_the_schema(token: &str, kid: &str, policy: &RealmPolicy, now: Timestamp, grant: &Grant) {
    let parts: Vec<&str> = token.split('.').collect();
    let header = object(parts[0]);
    assert_eq!(Value::Object(header), json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid }));
    let claims = object(parts[1]);
    let session = grant.refresh.is_some();
    for name in REQUIRED {
        assert!(claims.contains_key(name), "no {name}");
    }
    assert_eq!(claims.contains_key("sid"), session);
    for name in claims.keys() {
        assert!(REQUIRED.contains(&name.as_str()) || ["sid", "scope", "role"].contains(&name.as_str()), "{name}");
    }
    assert_eq!((&claims["iss"], &claims["sub"], &claims["client_id"]), (&json!(ISSUER), &json!("ann"), &json!("app")));
    let audience_is_named = match &claims["aud"] {
        Value::String(one) => !one.is_empty(),
        Value::Array(several) => several.len() > 1 && several.iter().all(Value::is_string),
        _ => false,
    };
    assert!(audience_is_named, "{}", claims["aud"]);
    assert!(TokenId::parse(claims["jti"].as_str().unwrap()).is_some());
    assert!(claims.get("sid").is_none_or(|sid| Sid::parse(sid.as_str().unwrap()).is_ok()));
    // `as_i64` is `None` for a number with a fraction or an exponent.
    let (issued, expires) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert_eq!(issued, now.seconds());
    let lifetime = expires - issued;
    assert!(lifetime <= policy.access_lifetime.as_secs().cast_signed(), "{lifetime} s");
    if let Some(refresh) = &grant.refresh {
        assert!(expires <= refresh.expires.seconds(), "it outlives its session");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_fits_the_schema_and_the_policys_lifetimes(
        millis in 1_700_000_000_000i64..1_900_000_000_000,
        access in 1u64..86_400,
        session in 60u64..1_000_000,
        idle in prop::option::of(60u64..100_000),
        remember: bool,
        audiences in 1usize..4,
        scopes in 0usize..3,
        role: bool,
        passing in prop::collection::vec(0u64..50_000_000, 0..4),
    ) {
        let key = Arc::new(new_key(Algorithm::EdDsa));
        let signer = Signer::new().unwrap();
        signer.install(realm("web"), KeyNumber(1), Arc::clone(&key));
        let mut rules = SessionRules::new(Timestamp::from_millis(millis));
        rules.policy.access_lifetime = Duration::from_secs(access);
        rules.policy.session_lifetime = Duration::from_secs(session);
        rules.policy.idle_timeout = idle.map(Duration::from_secs);
        let mut login = login(&["a", "b", "c"][..audiences], &["read", "write"][..scopes]);
        login.lifetime = if remember { Lifetime::Remembered } else { Lifetime::Standard };
        if role {
            login.claims = Claims::new(Map::from_iter([("role".to_owned(), json!("admin"))])).unwrap();
        }
        let check = |rules: &SessionRules, grant: &Grant| {
            let signature = signer.sign(ISSUER, &grant.access);
            let token = futures::executor::block_on(signature).unwrap();
            fits_the_schema(&token, key.kid().as_str(), &rules.policy, rules.now, grant);
        };
        let grant = rules.issue_sessionless(&login).unwrap();
        check(&rules, &grant);
        let mut grant = rules.login(&login).unwrap();
        check(&rules, &grant);
        for millis in passing {
            rules.pass(Duration::from_millis(millis));
            // Refused once the session is over, and then for good.
            let Ok(next) = rules.refresh(&grant.refresh.as_ref().unwrap().token) else { break };
            check(&rules, &next);
            grant = next;
        }
    }
}
