//! The public half of a key as numbers, and as JWK (RFC 7517, RFC 8037). Can't hold a secret: a
//! symmetric key has no such half.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::domain::algorithm::Algorithm;
use crate::domain::ids::KeyId;

/// The smallest RSA modulus (RFC 7518, section 3.3).
const RSA_MIN_BITS: usize = 2048;
/// Larger ones would make each check slow; nobody signs tokens with them.
const RSA_MAX_BITS: usize = 8192;
/// Members of a private or symmetric JWK (RFC 7518, section 6). One that has any was not meant to be published.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a key of the algorithm.
    #[error("not a key of that algorithm")]
    WrongKind,
    /// An RSA modulus of fewer than 2048 bits, or more than 8192; an HMAC key of fewer than 256.
    #[error("the key is too short or too long for its algorithm")]
    WrongSize,
    /// Numbers that are no key.
    #[error("not a valid key")]
    Rejected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Components {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ed25519 { x: [u8; 32] },
    P256 { x: [u8; 32], y: [u8; 32] },
}

/// The public half of a key, and the one algorithm that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    components: Components,
}

impl PublicKey {
    /// An RSA key: modulus and exponent, big-endian. For RS256 or PS256.
    pub fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<Self, InvalidKey> {
        if !matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256) {
            return Err(InvalidKey::WrongKind);
        }
        // RFC 7518, section 2: Base64urlUInt has no leading zero bytes, so each key has one thumbprint.
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) {
            return Err(InvalidKey::WrongSize);
        }
        Self { algorithm, components: Components::Rsa { n: n.to_vec(), e: e.to_vec() } }.checked()
    }

    /// An Ed25519 key (RFC 8037, section 2).
    pub fn ed25519(x: [u8; 32]) -> Result<Self, InvalidKey> {
        Self { algorithm: Algorithm::EdDsa, components: Components::Ed25519 { x } }.checked()
    }

    /// A P-256 key for ES256: the coordinates, big-endian.
    pub fn p256(x: [u8; 32], y: [u8; 32]) -> Result<Self, InvalidKey> {
        Self { algorithm: Algorithm::Es256, components: Components::P256 { x, y } }.checked()
    }

    /// Reads a JWK. Its `kid` is not believed: [`thumbprint`](Self::thumbprint) is the name. An RSA
    /// key must say its `alg`; a key that carries private members is refused.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, InvalidKey> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if PRIVATE.iter().any(|name| jwk.contains_key(*name)) || text("use").is_some_and(|r#use| r#use != "sig") {
            return Err(InvalidKey::WrongKind);
        }
        let bytes =
            |name: &str| text(name).and_then(|b64| URL_SAFE_NO_PAD.decode(b64).ok()).ok_or(InvalidKey::Rejected);
        let coordinate = |name: &str| bytes(name)?.try_into().map_err(|_| InvalidKey::Rejected);
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(alg) => Some(alg.as_str().and_then(Algorithm::parse).ok_or(InvalidKey::WrongKind)?),
        };
        let key = match (text("kty"), text("crv")) {
            (Some("RSA"), None) => Self::rsa(algorithm.ok_or(InvalidKey::WrongKind)?, &bytes("n")?, &bytes("e")?)?,
            (Some("OKP"), Some("Ed25519")) => Self::ed25519(coordinate("x")?)?,
            (Some("EC"), Some("P-256")) => Self::p256(coordinate("x")?, coordinate("y")?)?,
            _ => return Err(InvalidKey::WrongKind),
        };
        if algorithm.is_some_and(|algorithm| algorithm != key.algorithm) {
            return Err(InvalidKey::WrongKind);
        }
        Ok(key)
    }

    /// The one algorithm that the key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// As JWK, with `use`, `alg` and `kid`, and no private member.
    pub fn to_jwk(&self) -> Value {
        let mut jwk = self.required_members();
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm.name());
        jwk["kid"] = json!(self.thumbprint().as_str());
        jwk
    }

    /// The `kid`: SHA-256 over the required members (RFC 7638, section 3).
    pub fn thumbprint(&self) -> KeyId {
        let hash = digest::digest(&digest::SHA256, self.required_members().to_string().as_bytes());
        KeyId::parse(&URL_SAFE_NO_PAD.encode(hash)).expect("43 base64url characters are a kid")
    }

    /// In lexicographic order, which RFC 7638, section 3.2, needs.
    fn required_members(&self) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.components {
            Components::Rsa { n, e } => json!({ "e": b64(e), "kty": "RSA", "n": b64(n) }),
            Components::Ed25519 { x } => json!({ "crv": "Ed25519", "kty": "OKP", "x": b64(x) }),
            Components::P256 { x, y } => json!({ "crv": "P-256", "kty": "EC", "x": b64(x), "y": b64(y) }),
        }
    }

    /// Parsed once, so that a check does not parse again.
    pub(super) fn parse(&self) -> Result<ParsedPublicKey, InvalidKey> {
        match &self.components {
            Components::Rsa { n, e } => {
                let padding = match self.algorithm {
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(padding)
            }
            Components::Ed25519 { x } => ParsedPublicKey::new(&ED25519, x),
            Components::P256 { x, y } => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4][..], &x[..], &y[..]].concat())
            }
        }
        .map_err(|_| InvalidKey::Rejected)
    }

    fn checked(self) -> Result<Self, InvalidKey> {
        self.parse()?;
        Ok(self)
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(members) = value else { panic!("an object") };
        members
    }

    fn ed25519() -> Map<String, Value> {
        object(json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }))
    }

    #[test]
    fn a_jwk_survives_the_round_trip_and_says_what_it_is_for() {
        let key = PublicKey::from_jwk(&ed25519()).expect("a key");
        let jwk = key.to_jwk();
        assert_eq!(jwk["use"], "sig");
        assert_eq!(jwk["alg"], "EdDSA");
        assert_eq!(jwk["kid"], "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(PublicKey::from_jwk(&object(jwk)), Ok(key));
    }

    #[test]
    fn a_jwk_that_is_not_exactly_a_public_signature_key_is_refused() {
        let kind = InvalidKey::WrongKind;
        let cases = [
            ("alg", json!("RS256"), kind),
            ("alg", json!("none"), kind),
            ("alg", json!(7), kind),
            ("use", json!("enc"), kind),
            ("d", json!("AAAA"), kind),
            ("k", json!("AAAA"), kind),
            ("crv", json!("X25519"), kind),
            ("kty", json!("oct"), kind),
            ("x", json!("AAAA"), InvalidKey::Rejected),
            ("x", json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo="), InvalidKey::Rejected),
        ];
        for (name, value, refused) in cases {
            let mut jwk = ed25519();
            jwk.insert(name.to_owned(), value.clone());
            assert_eq!(PublicKey::from_jwk(&jwk), Err(refused), "{name}: {value}");
        }
    }

    #[test]
    fn points_off_the_curve_and_short_moduli_are_refused() {
        assert_eq!(PublicKey::p256([1; 32], [1; 32]), Err(InvalidKey::Rejected));
        for (bytes, first) in [(128, 0xff), (256, 0x7f)] {
            let mut n = vec![0xff; bytes];
            n[0] = first;
            assert_eq!(PublicKey::rsa(Algorithm::Rs256, &n, &[1, 0, 1]), Err(InvalidKey::WrongSize));
            n.insert(0, 0);
            assert_eq!(PublicKey::rsa(Algorithm::Rs256, &n, &[1, 0, 1]), Err(InvalidKey::WrongSize));
        }
        assert_eq!(PublicKey::rsa(Algorithm::Es256, &[0xff; 256], &[1, 0, 1]), Err(InvalidKey::WrongKind));
    }
}
