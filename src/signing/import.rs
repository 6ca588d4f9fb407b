//! Reads a private key that was made elsewhere: PKCS#8, PKCS#1 or SEC 1 in PEM, or a JWK. Gives it the one
//! form in which keys are kept; whether it fits its algorithm, [`SigningKey`] decides.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs1::UintRef;
use rsa::pkcs8::SecretDocument;
use rsa::pkcs8::der::Encode as _;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::key::SigningKey;
use crate::domain::algorithm::Algorithm;
use crate::verify::keys::InvalidKey;

/// Why a text is no key that could be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// No form that is known.
    #[error("it holds no private key: PEM (PKCS#8, PKCS#1 or SEC 1, not encrypted) and JWK are read")]
    Form,
    /// A JWK that says that it is for something else.
    #[error("the JWK is for another algorithm or use")]
    Purpose,
    /// A key, and not one of the algorithm.
    #[error(transparent)]
    Key(#[from] InvalidKey),
}

type Private = Zeroizing<Vec<u8>>;

/// The key in the form in which keys are kept, checked for its algorithm.
pub fn private_key(algorithm: Algorithm, text: &str) -> Result<Private, ImportError> {
    let private = match serde_json::from_str(text) {
        Ok(Value::Object(jwk)) => of_jwk(algorithm, &jwk)?,
        // Bytes of any kind of key would pass for an HS256 secret.
        _ if algorithm == Algorithm::Hs256 => return Err(ImportError::Form),
        _ => of_pem(text)?,
    };
    SigningKey::from_pkcs8(algorithm, &private)?;
    Ok(private)
}

fn of_pem(text: &str) -> Result<Private, ImportError> {
    let (label, document) = SecretDocument::from_pem(text.trim()).map_err(|_| ImportError::Form)?;
    match label {
        "PRIVATE KEY" => Ok(Zeroizing::new(document.as_bytes().to_vec())),
        "RSA PRIVATE KEY" => of_pkcs1(document.as_bytes()),
        "EC PRIVATE KEY" => {
            let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_bytes());
            of_p256(&pair.map_err(rejected)?)
        }
        _ => Err(ImportError::Form),
    }
}

fn of_pkcs1(der: &[u8]) -> Result<Private, ImportError> {
    let pair = RsaKeyPair::from_der(der).map_err(rejected)?;
    let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(rejected)?;
    Ok(Zeroizing::new(pkcs8.as_ref().to_vec()))
}

fn of_p256(pair: &EcdsaKeyPair) -> Result<Private, ImportError> {
    Ok(Zeroizing::new(pair.to_pkcs8v1().map_err(rejected)?.as_ref().to_vec()))
}

/// RFC 7518, section 6; RFC 8037, section 2.
fn of_jwk(algorithm: Algorithm, jwk: &Map<String, Value>) -> Result<Private, ImportError> {
    let says = |name: &str| jwk.get(name).map(|value| value.as_str().unwrap_or_default());
    if says("alg").is_some_and(|alg| alg != algorithm.name()) || says("use").is_some_and(|purpose| purpose != "sig") {
        return Err(ImportError::Purpose);
    }
    let bytes = |name: &str| {
        let decoded = says(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).map(Zeroizing::new);
        decoded.ok_or(ImportError::Key(InvalidKey::Rejected))
    };
    match (says("kty"), says("crv")) {
        (Some("RSA"), None) => {
            let members: Vec<_> = RSA_MEMBERS.iter().map(|name| bytes(name)).collect::<Result<_, _>>()?;
            of_pkcs1(&pkcs1(&members)?)
        }
        (Some("EC"), Some("P-256")) => {
            let public = [&[4][..], &bytes("x")?, &bytes("y")?].concat();
            let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
            of_p256(&EcdsaKeyPair::from_private_key_and_public_key(alg, &bytes("d")?, &public).map_err(rejected)?)
        }
        (Some("OKP"), Some("Ed25519")) => {
            let pair = Ed25519KeyPair::from_seed_and_public_key(&bytes("d")?, &bytes("x")?).map_err(rejected)?;
            Ok(Zeroizing::new(pair.to_pkcs8v1().map_err(rejected)?.as_ref().to_vec()))
        }
        (Some("oct"), None) if algorithm == Algorithm::Hs256 => bytes("k"),
        _ => Err(ImportError::Key(InvalidKey::WrongKind)),
    }
}

const RSA_MEMBERS: [&str; 8] = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];

/// The same numbers as DER (RFC 8017, appendix A.1.2); nothing is computed with them.
fn pkcs1(members: &[Private]) -> Result<Private, ImportError> {
    let numbers: Vec<_> =
        members.iter().map(|member| UintRef::new(member).map_err(rejected)).collect::<Result<_, _>>()?;
    let [modulus, public_exponent, private_exponent, prime1, prime2, exponent1, exponent2, coefficient] = numbers[..]
    else {
        return Err(ImportError::Key(InvalidKey::Rejected));
    };
    let other_prime_infos = None;
    let key = rsa::pkcs1::RsaPrivateKey {
        modulus,
        public_exponent,
        private_exponent,
        prime1,
        prime2,
        exponent1,
        exponent2,
        coefficient,
        other_prime_infos,
    };
    key.to_der().map(Zeroizing::new).map_err(rejected)
}

fn rejected<E>(_: E) -> ImportError {
    ImportError::Key(InvalidKey::Rejected)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use rsa::pkcs8::{LineEnding, PrivateKeyInfo};
    use serde_json::json;

    use super::*;

    fn generated(algorithm: Algorithm) -> Private {
        SigningKey::generate(algorithm).expect("a key")
    }

    fn pem(label: &'static str, der: &[u8]) -> String {
        let document = SecretDocument::try_from(der).expect("DER");
        document.to_pem(label, LineEnding::LF).expect("PEM").to_string()
    }

    fn kid(algorithm: Algorithm, private: &[u8]) -> String {
        SigningKey::from_pkcs8(algorithm, private).expect("a key").kid().to_string()
    }

    #[test]
    fn pem_in_each_form_is_the_same_key() {
        for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa] {
            let der = generated(algorithm);
            let read = private_key(algorithm, &format!("\n{}\n", pem("PRIVATE KEY", &der))).expect("PKCS#8");
            assert_eq!(kid(algorithm, &read), kid(algorithm, &der), "{algorithm}");
            let inner = PrivateKeyInfo::try_from(&der[..]).expect("PKCS#8").private_key.to_vec();
            let label = match algorithm {
                Algorithm::Rs256 | Algorithm::Ps256 => "RSA PRIVATE KEY",
                Algorithm::Es256 => "EC PRIVATE KEY",
                Algorithm::EdDsa | Algorithm::Hs256 => continue,
            };
            let read = private_key(algorithm, &pem(label, &inner)).expect("the older form");
            assert_eq!(kid(algorithm, &read), kid(algorithm, &der), "{algorithm}");
        }
    }

    /// RFC 8037, appendix A.1, and RFC 7515, appendices A.1 and A.3.
    #[test]
    fn jwks_of_the_rfcs_are_read() {
        let ed25519 = json!({ "kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let read = private_key(Algorithm::EdDsa, &ed25519.to_string()).expect("a key");
        assert_eq!(kid(Algorithm::EdDsa, &read), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let p256 = json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI" });
        private_key(Algorithm::Es256, &p256.to_string()).expect("a key");
        let secret = json!({ "kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" });
        private_key(Algorithm::Hs256, &secret.to_string()).expect("a secret");
    }

    #[test]
    fn an_rsa_jwk_has_the_same_numbers_as_its_pem() {
        let der = generated(Algorithm::Rs256);
        let info = PrivateKeyInfo::try_from(&der[..]).expect("PKCS#8");
        let key = rsa::pkcs1::RsaPrivateKey::try_from(info.private_key).expect("PKCS#1");
        let b64 = |number: UintRef<'_>| json!(URL_SAFE_NO_PAD.encode(number.as_bytes()));
        let mut jwk = json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "n": b64(key.modulus), "e": b64(key.public_exponent),
            "d": b64(key.private_exponent), "p": b64(key.prime1), "q": b64(key.prime2), "dp": b64(key.exponent1),
            "dq": b64(key.exponent2), "qi": b64(key.coefficient) });
        let read = private_key(Algorithm::Rs256, &jwk.to_string()).expect("a key");
        assert_eq!(kid(Algorithm::Rs256, &read), kid(Algorithm::Rs256, &der));
        assert_eq!(private_key(Algorithm::Ps256, &jwk.to_string()), Err(ImportError::Purpose));
        jwk["p"] = jwk["q"].clone();
        assert_eq!(private_key(Algorithm::Rs256, &jwk.to_string()), Err(ImportError::Key(InvalidKey::Rejected)));
        jwk["use"] = json!("enc");
        assert_eq!(private_key(Algorithm::Rs256, &jwk.to_string()), Err(ImportError::Purpose));
    }

    #[test]
    fn what_does_not_fit_its_algorithm_is_refused() {
        let of = |algorithm| pem("PRIVATE KEY", &generated(algorithm));
        for (algorithm, text) in [(Algorithm::Es256, of(Algorithm::EdDsa)), (Algorithm::Rs256, of(Algorithm::Es256))] {
            assert!(matches!(private_key(algorithm, &text), Err(ImportError::Key(_))), "{algorithm}");
        }
        for text in ["", "secret", "{}", "[]", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(private_key(Algorithm::Rs256, text).is_err(), "{text}");
        }
        assert_eq!(private_key(Algorithm::Hs256, &of(Algorithm::Rs256)), Err(ImportError::Form));
        let short = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 31]) }).to_string();
        assert_eq!(private_key(Algorithm::Hs256, &short), Err(ImportError::Key(InvalidKey::WrongSize)));
    }

    /// RSA of 1024 bits (PKCS#1), used nowhere else.
    const SHORT_RSA: &str = "\
        MIICXQIBAAKBgQDQrV0JXXpGDJFMEkPl5mtFHPZvp6uSVs6Bicl47qD/iIK1JZbgw+Ij4cL5RzhkeUjEiF8oLvLbMNlkMz4QApBD\
        Mi6h+LlnpBxhNz4WhLuYWEK3KRYeWnmsae8kOg30dxieuUOuiJFgXMbc7xvz3wJp/r/rFZskIVT7RRZRUNm9iQIDAQABAoGAdxEU\
        Ls3JgMKW/QLG/xyURGEcM+VFvkANoFgQPxJZhrRLcDS8fA8Ir1SXvUhn4txZKtptAS6Yn3yl7chXNydfTA9DKfryyF2pgyVs9Olj\
        lxQmHJVLSi97RAD3EewH2SD+IMckUWZtC0EDkaLmpekK+UeTq0T+li7A/xg6HNTa5qECQQD8a0To4GXFTNa/1VTwV2E5TI/e5gHO\
        Mnq9qz6AOL5PMWAod7CTni7mokCO+VwdYsZmDiLw6fVwQHLU5cBMtUMVAkEA06M7xpqQCB7TcEZjCKWo+NWyxk6e9ZZZ6YecsuD+\
        EUoFM3NjG8cNYfEOTcIq/SoJM4f86Gu28hh6MK2DQ0O9pQJAUkPnlnoj0PSk/KpbX2UrA5CnRv7xUbFz/ULFQOa9Z3PxId84RjQE\
        lxgEMFSmp9EcVgB/dMLbQfVPN4GVdaqRrQJBAKeHYXwXQciLzkfkD+T6bcV8NCYyejZhrA7mYK5g1/2LoI5X2q5UZU2Qagg3mZwJ\
        uHroPNUm3wzJP4Bk+bE3YFkCQQDQFOAWcgp7B4Wku72Z/qh+652fEXWBSZrXcUK7u01o0S3KSElPFAbdcGfcokp+Uxw66+GX2ovL\
        elaxndbpHz8R";

    #[test]
    fn an_rsa_key_below_2048_bits_is_refused_in_each_form() {
        let pkcs1 = STANDARD.decode(SHORT_RSA).expect("base64");
        let pkcs8 = PrivateKeyInfo::new(rsa::pkcs1::ALGORITHM_ID, &pkcs1).to_der().expect("DER");
        for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
            for text in [pem("RSA PRIVATE KEY", &pkcs1), pem("PRIVATE KEY", &pkcs8)] {
                assert!(matches!(private_key(algorithm, &text), Err(ImportError::Key(_))), "{algorithm}: {text}");
            }
        }
    }
}
