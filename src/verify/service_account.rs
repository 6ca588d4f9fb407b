//! Tokens by which a Kubernetes cluster names one of its service accounts. Checked as strictly as an access
//! token, and never taken for one. Where the cluster's keys come from is not known here.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::signature::ParsedPublicKey;
use serde_json::{Map, Value};

use super::json;
use super::jwt::{MAX_TOKEN_BYTES, Parts};
use super::public_key::PublicKey;
use super::rejection::Rejection;
use super::token::numeric_date;
use crate::domain::algorithm::Algorithm;
use crate::domain::caller_name::ServiceAccount;
use crate::domain::time::Timestamp;

/// How far the cluster's clock may be ahead.
const CLOCK_ERROR: Duration = Duration::from_secs(30);
const PAYLOAD_DEPTH: usize = 6;
/// A cluster has two while it turns them; a set of more than this is something else.
const MOST_KEYS: usize = 64;

/// A cluster that is trusted to name its service accounts.
pub struct Cluster {
    issuer: String,
    audience: String,
    keys: RwLock<HashMap<String, Key>>,
}

struct Key {
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
}

/// Why a key set was not taken; the last one stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no JSON Web Key Set with a signature key of a known kind")]
pub struct InvalidKeySet;

impl Cluster {
    /// A cluster without keys yet. Tokens must be bound to the audience, and to no other: whoever else is
    /// meant by one could pass it on.
    pub fn new(issuer: String, audience: String) -> Self {
        Self { issuer, audience, keys: RwLock::default() }
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Takes the place of the keys before. Keys of unknown kinds are left out.
    pub fn install(&self, key_set: &[u8]) -> Result<(), InvalidKeySet> {
        let set: Value = serde_json::from_slice(key_set).map_err(|_| InvalidKeySet)?;
        let listed = set.get("keys").and_then(Value::as_array).filter(|keys| keys.len() <= MOST_KEYS);
        let keys: HashMap<_, _> = listed.ok_or(InvalidKeySet)?.iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err(InvalidKeySet);
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// The account that a token names.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<ServiceAccount, Rejection> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLarge);
        }
        let Parts { signing_input, header, payload, signature } = Parts::parse(token)?;
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        if header.contains_key("typ") && text("typ") != Some("JWT") {
            return Err(Rejection::WrongType);
        }
        let algorithm = text("alg").and_then(Algorithm::parse).ok_or(Rejection::WrongAlgorithm)?;
        {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            let key = text("kid").and_then(|kid| keys.get(kid)).ok_or(Rejection::UnknownKey)?;
            if key.algorithm != algorithm {
                return Err(Rejection::WrongAlgorithm);
            }
            key.parsed.verify_sig(signing_input.as_bytes(), &signature).map_err(|_| Rejection::BadSignature)?;
        }
        let claims = json::object(&payload, PAYLOAD_DEPTH);
        self.account(&claims.ok_or(Rejection::Malformed("payload is no strict JSON object"))?, now)
    }

    fn account(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<ServiceAccount, Rejection> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Rejection::WrongIssuer);
        }
        let audience = match claims.get("aud") {
            Some(Value::Array(list)) if list.len() == 1 => list[0].as_str(),
            Some(one) => one.as_str(),
            None => None,
        };
        if audience != Some(&self.audience) {
            return Err(Rejection::InvalidClaim("aud"));
        }
        let time = |name: &'static str| match claims.get(name) {
            Some(value) => numeric_date(value).map(Some).ok_or(Rejection::InvalidClaim(name)),
            None => Ok(None),
        };
        // Tokens in secrets, of clusters before 1.24, never expire: none of them is taken.
        if now >= time("exp")?.ok_or(Rejection::InvalidClaim("exp"))? {
            return Err(Rejection::Expired);
        }
        for name in ["nbf", "iat"] {
            if time(name)?.is_some_and(|time| time > now + CLOCK_ERROR) {
                return Err(Rejection::NotYetValid);
            }
        }
        let named =
            claims.get("sub").and_then(Value::as_str).and_then(|sub| sub.strip_prefix("system:serviceaccount:"));
        let account = named.and_then(|named| ServiceAccount::parse(&named.replacen(':', "/", 1)).ok());
        account.ok_or(Rejection::InvalidClaim("sub"))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

fn key(jwk: &Value) -> Option<(String, Key)> {
    let members = jwk.as_object()?;
    let public = PublicKey::from_jwk(members).ok()?;
    let parsed = public.parse().ok()?;
    Some((members.get("kid")?.as_str()?.to_owned(), Key { algorithm: public.algorithm(), parsed }))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("a key")
    }

    fn cluster() -> Cluster {
        let cluster = Cluster::new("https://cluster.example".to_owned(), "token-authority".to_owned());
        let x = URL_SAFE_NO_PAD.encode(pair().public_key());
        let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }, { "kty": "oct" }] });
        cluster.install(set.to_string().as_bytes()).expect("a set");
        cluster
    }

    fn claims() -> Value {
        json!({
            "iss": "https://cluster.example", "aud": ["token-authority"], "sub": "system:serviceaccount:shop:web",
            "exp": NOW.seconds() + 60, "iat": NOW.seconds(), "nbf": NOW.seconds(),
            "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "web", "uid": "1" } },
        })
    }

    fn sign(header: &Value, claims: &Value) -> String {
        let input = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(pair().sign(input.as_bytes())))
    }

    #[test]
    fn only_a_token_of_the_cluster_for_this_audience_and_now_names_an_account() {
        let header = json!({ "alg": "EdDSA", "kid": "k" });
        let account = cluster().check(&sign(&header, &claims()), NOW).expect("an account");
        assert_eq!(account.as_str(), "shop/web");
        let audience = Rejection::InvalidClaim("aud");
        for (name, value, expected) in [
            ("iss", json!("https://other.example"), Rejection::WrongIssuer),
            ("aud", json!(["https://kubernetes.default.svc"]), audience),
            ("aud", json!(["token-authority", "https://kubernetes.default.svc"]), audience),
            ("aud", json!([]), audience),
            ("aud", Value::Null, audience),
            ("exp", json!(NOW.seconds()), Rejection::Expired),
            ("exp", Value::Null, Rejection::InvalidClaim("exp")),
            ("nbf", json!(NOW.seconds() + 31), Rejection::NotYetValid),
            ("sub", json!("system:serviceaccount:shop"), Rejection::InvalidClaim("sub")),
            ("sub", json!("system:serviceaccount:shop:web:x"), Rejection::InvalidClaim("sub")),
            ("sub", json!("system:node:web"), Rejection::InvalidClaim("sub")),
        ] {
            let mut claims = claims();
            claims[name] = value.clone();
            if value.is_null() {
                claims.as_object_mut().expect("an object").shift_remove(name);
            }
            assert_eq!(cluster().check(&sign(&header, &claims), NOW), Err(expected), "{name}: {value}");
        }
        for (header, expected) in [
            (json!({ "alg": "EdDSA", "kid": "other" }), Rejection::UnknownKey),
            (json!({ "alg": "EdDSA" }), Rejection::UnknownKey),
            (json!({ "alg": "RS256", "kid": "k" }), Rejection::WrongAlgorithm),
            (json!({ "alg": "none", "kid": "k" }), Rejection::WrongAlgorithm),
            (json!({ "alg": "EdDSA", "kid": "k", "typ": "at+jwt" }), Rejection::WrongType),
            (json!({ "alg": "EdDSA", "kid": "k", "crit": ["x"] }), Rejection::UnsupportedExtension),
        ] {
            assert_eq!(cluster().check(&sign(&header, &claims()), NOW), Err(expected), "{header}");
        }
        let signed = sign(&header, &claims());
        let (input, _) = signed.rsplit_once('.').expect("a signature");
        let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode([0; 64]));
        assert_eq!(cluster().check(&forged, NOW), Err(Rejection::BadSignature));
    }

    #[test]
    fn a_key_set_that_is_none_leaves_the_last_one_in_force() {
        let cluster = cluster();
        for wrong in ["", "{}", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}"] {
            assert_eq!(cluster.install(wrong.as_bytes()), Err(InvalidKeySet), "{wrong}");
        }
        let token = sign(&json!({ "alg": "EdDSA", "kid": "k" }), &claims());
        assert!(cluster.check(&token, NOW).is_ok());
    }
}
