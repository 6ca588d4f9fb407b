//! A JWT with which a client proves who it is (RFC 7523, section 3): `private_key_jwt`. Checked as
//! strictly as an access token, and never taken for one. Whether it was used before is not known here.

use std::time::Duration;

use aws_lc_rs::digest;
use serde_json::{Map, Value};

use super::json;
use super::jwt::{MAX_TOKEN_BYTES, Parts};
use super::public_key::PublicKey;
use super::rejection::Rejection;
use super::token::numeric_date;
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::ClientId;
use crate::domain::time::Timestamp;

/// How far ahead `exp` may lie: that long a used assertion has to be remembered.
const MAX_LIFETIME: Duration = Duration::from_secs(600);
/// How far a client's clock may be ahead, for `nbf` and `iat`.
const CLOCK_ERROR: Duration = Duration::from_secs(30);
/// RFC 7515, section 4.1.9, and the one that later drafts of RFC 7523 want.
const TYPES: [&str; 2] = ["JWT", "client-authentication+jwt"];
const PAYLOAD_DEPTH: usize = 4;
const MAX_ID_BYTES: usize = 255;

/// An assertion; authentic once it has been checked.
pub struct ClientAssertion<'a> {
    parts: Parts<'a>,
    algorithm: Algorithm,
    claims: Map<String, Value>,
    client: ClientId,
    expires: Timestamp,
}

impl<'a> ClientAssertion<'a> {
    /// Takes it apart.
    pub fn parse(text: &'a str) -> Result<Self, Rejection> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLarge);
        }
        let parts = Parts::parse(text)?;
        match parts.header.get("typ").map(Value::as_str) {
            None => {}
            Some(Some(typ)) if TYPES.contains(&typ) => {}
            Some(_) => return Err(Rejection::WrongType),
        }
        let algorithm = parts.header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        let claims = json::object(&parts.payload, PAYLOAD_DEPTH);
        let claims = claims.ok_or(Rejection::Malformed("payload is no strict JSON object"))?;
        let text = |name: &'static str| claims.get(name).and_then(Value::as_str).ok_or(Rejection::InvalidClaim(name));
        // RFC 7523, section 3, points 1 and 2: both are the client.
        if text("iss")? != text("sub")? {
            return Err(Rejection::InvalidClaim("iss"));
        }
        if !(1..=MAX_ID_BYTES).contains(&text("jti")?.len()) {
            return Err(Rejection::InvalidClaim("jti"));
        }
        Ok(Self {
            algorithm: algorithm.ok_or(Rejection::WrongAlgorithm)?,
            client: ClientId::parse(text("sub")?).map_err(|_| Rejection::InvalidClaim("sub"))?,
            expires: claims.get("exp").and_then(numeric_date).ok_or(Rejection::InvalidClaim("exp"))?,
            parts,
            claims,
        })
    }

    /// Who it says to be from.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// When it expires.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Names it among all assertions: a digest of client and `jti`.
    pub fn id(&self) -> [u8; 16] {
        let mut context = digest::Context::new(&digest::SHA256);
        let id = self.claims.get("jti").and_then(Value::as_str).unwrap_or_default();
        for part in [self.client.as_str(), id] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let hash = context.finish();
        std::array::from_fn(|i| hash.as_ref()[i])
    }

    /// Whether one of the keys signed it, for one of these audiences, and it is valid now.
    pub(super) fn check(&self, keys: &[PublicKey], accepted: &[&str], now: Timestamp) -> Result<(), Rejection> {
        // By the signature alone, since a `kid` is the client's own name for its key.
        let mut known = keys.iter().filter(|key| key.algorithm() == self.algorithm).filter_map(|key| key.parse().ok());
        let (input, signature) = (self.parts.signing_input.as_bytes(), &self.parts.signature);
        if !known.any(|key| key.verify_sig(input, signature).is_ok()) {
            return Err(Rejection::BadSignature);
        }
        let is_us = |audience: &Value| audience.as_str().is_some_and(|audience| accepted.contains(&audience));
        let for_us = match self.claims.get("aud") {
            // One, since whoever else is meant could show it here first (CVE-2025-27370).
            Some(Value::Array(names)) => matches!(names.as_slice(), [one] if is_us(one)),
            Some(one) => is_us(one),
            None => false,
        };
        if !for_us {
            return Err(Rejection::InvalidClaim("aud"));
        }
        if now >= self.expires {
            return Err(Rejection::Expired);
        }
        if self.expires > now + MAX_LIFETIME + CLOCK_ERROR {
            return Err(Rejection::InvalidClaim("exp"));
        }
        for name in ["nbf", "iat"] {
            let Some(value) = self.claims.get(name) else { continue };
            if numeric_date(value).ok_or(Rejection::InvalidClaim(name))? > now + CLOCK_ERROR {
                return Err(Rejection::NotYetValid);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const ISSUER: &str = "https://issuer.example";

    fn claims() -> Value {
        json!({ "iss": "app", "sub": "app", "aud": ISSUER, "exp": NOW.seconds() + 60, "jti": "1" })
    }

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key")
    }

    fn sign(header: &Value, claims: &Value) -> String {
        let input = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(pair().sign(input.as_bytes())))
    }

    fn check(text: &str) -> Result<(), Rejection> {
        let key = PublicKey::ed25519(pair().public_key().as_ref().try_into().expect("32 bytes")).expect("a key");
        ClientAssertion::parse(text)?.check(&[key], &["https://issuer.example/oauth2/token", ISSUER], NOW)
    }

    #[test]
    fn only_what_the_client_signed_for_this_server_and_now_is_right() {
        let header = json!({ "alg": "EdDSA" });
        assert_eq!(check(&sign(&header, &claims())), Ok(()));
        let (typ, never) = (Rejection::WrongType, Rejection::InvalidClaim("exp"));
        let cases = [
            ("aud", json!(["https://issuer.example/oauth2/token"]), Ok(())),
            ("aud", json!(["https://other.example", "https://issuer.example"]), Err(Rejection::InvalidClaim("aud"))),
            ("aud", json!("https://other.example"), Err(Rejection::InvalidClaim("aud"))),
            ("aud", json!("https://issuer.example/"), Err(Rejection::InvalidClaim("aud"))),
            ("aud", json!([]), Err(Rejection::InvalidClaim("aud"))),
            ("iss", json!("other"), Err(Rejection::InvalidClaim("iss"))),
            ("sub", json!(1), Err(Rejection::InvalidClaim("sub"))),
            ("jti", json!(""), Err(Rejection::InvalidClaim("jti"))),
            ("exp", json!(NOW.seconds()), Err(Rejection::Expired)),
            ("exp", json!(NOW.seconds() + 631), Err(never)),
            ("exp", json!("soon"), Err(never)),
            ("nbf", json!(NOW.seconds() + 31), Err(Rejection::NotYetValid)),
            ("iat", json!(NOW.seconds() + 31), Err(Rejection::NotYetValid)),
            ("iat", json!(NOW.seconds() + 30), Ok(())),
        ];
        for (name, value, expected) in cases {
            let mut claims = claims();
            claims[name] = value.clone();
            assert_eq!(check(&sign(&header, &claims)), expected, "{name}: {value}");
        }
        let headers = [
            (json!({ "alg": "EdDSA", "typ": "JWT", "kid": "theirs" }), Ok(())),
            (json!({ "alg": "EdDSA", "typ": "at+jwt" }), Err(typ)),
            (json!({ "alg": "EdDSA", "typ": 1 }), Err(typ)),
            (json!({ "alg": "none" }), Err(Rejection::WrongAlgorithm)),
            (json!({ "alg": "HS256" }), Err(Rejection::BadSignature)),
            (json!({ "alg": "EdDSA", "crit": ["x"] }), Err(Rejection::UnsupportedExtension)),
        ];
        for (header, expected) in headers {
            assert_eq!(check(&sign(&header, &claims())), expected, "{header}");
        }
        let signed = sign(&header, &claims());
        let (input, _) = signed.rsplit_once('.').expect("a signature");
        assert_eq!(check(&format!("{input}.{}", URL_SAFE_NO_PAD.encode([0; 64]))), Err(Rejection::BadSignature));
    }

    #[test]
    fn no_two_assertions_share_an_id() {
        let id = |client: &str, jti: &str| {
            let claims = json!({ "iss": client, "sub": client, "aud": ISSUER, "exp": 1, "jti": jti });
            ClientAssertion::parse(&sign(&json!({ "alg": "EdDSA" }), &claims)).expect("an assertion").id()
        };
        assert_eq!(id("app", "1"), id("app", "1"));
        assert_ne!(id("app", "1"), id("app", "2"));
        assert_ne!(id("app1", "1"), id("app", "11"));
    }
}
