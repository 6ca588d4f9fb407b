//! Test vectors of others: RFC 7520, RFC 8037, RFC 7638, and Project Wycheproof. A file that is
//! missing, or that has other than the expected number of cases, fails.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::EncodePrivateKey;
use rsa::{BigUint, RsaPrivateKey};
use serde_json::Value;
use token_authority::domain::algorithm::Algorithm;
use token_authority::signing::key::SigningKey;
use token_authority::verify::keys::{PublicKey, VerifyKey};

use crate::forge::{Forge, realm};

fn read(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}"))
}

fn b64(value: &Value, pointer: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text(value, pointer)).unwrap()
}

fn hex(value: &Value, pointer: &str) -> Vec<u8> {
    let digits = text(value, pointer).as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("no {pointer}"))
}

#[test]
fn rs256_signs_rfc_7520_section_4_1_to_the_byte() {
    let vector = read("jose-cookbook/jws/4_1.rsa_v15_signature.json");
    let number = |name: &str| BigUint::from_bytes_be(&b64(&vector, &format!("/input/key/{name}")));
    let primes = vec![number("p"), number("q")];
    let private = RsaPrivateKey::from_components(number("n"), number("e"), number("d"), primes).unwrap();
    let der = private.to_pkcs8_der().unwrap();
    let key = SigningKey::from_pkcs8(Algorithm::Rs256, der.as_bytes()).unwrap();
    assert_eq!(key.sign(text(&vector, "/signing/sig-input").as_bytes()).unwrap(), b64(&vector, "/signing/sig"));
}

#[test]
fn hs256_signs_rfc_7520_section_4_4_to_the_byte() {
    let vector = read("jose-cookbook/jws/4_4.hmac-sha2_integrity_protection.json");
    let key = SigningKey::from_pkcs8(Algorithm::Hs256, &b64(&vector, "/input/key/k")).unwrap();
    assert_eq!(key.sign(text(&vector, "/signing/sig-input").as_bytes()).unwrap(), b64(&vector, "/signing/sig"));
}

#[test]
fn eddsa_signs_rfc_8037_appendix_a_4_to_the_byte() {
    let vector = read("jose-cookbook/curve25519/jws.json");
    // RFC 8410, section 7: version, algorithm identifier, and the seed in two octet strings.
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend(b64(&vector, "/input/key/d"));
    let key = SigningKey::from_pkcs8(Algorithm::EdDsa, &der).unwrap();
    assert_eq!(key.public().unwrap().to_jwk()["x"], vector["input"]["key"]["x"]);
    assert_eq!(key.sign(text(&vector, "/signing/sig-input").as_bytes()).unwrap(), b64(&vector, "/signing/sig"));
}

/// The cookbook's tokens are no access tokens, whatever their serialisation.
#[test]
fn no_token_of_the_cookbook_is_an_access_token() {
    let forge = Forge::new();
    let mut seen = 0;
    let jws = [
        "4_1.rsa_v15_signature",
        "4_2.rsa-pss_signature",
        "4_3.ecdsa_signature",
        "4_4.hmac-sha2_integrity_protection",
        "4_5.signature_with_detached_content",
        "4_6.protecting_specific_header_fields",
        "4_7.protecting_content_only",
        "4_8.multiple_signatures",
    ];
    let files = jws.map(|name| format!("jose-cookbook/jws/{name}.json"));
    let others = ["curve25519/jws.json", "rfc7797/hmac-sha2_b64_false.json", "rfc7797/4.2.hmac-sha2_b64_false.json"];
    for file in files.into_iter().chain(others.map(|name| format!("jose-cookbook/{name}"))) {
        let vector = read(&file);
        for (form, output) in vector["output"].as_object().unwrap() {
            let token = output.as_str().map_or_else(|| output.to_string(), str::to_owned);
            assert!(forge.verify(&token).is_err(), "{file}: {form}");
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen}");
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    let vectors = read("rfc/thumbprints_and_ath.json");
    let vectors = list(&vectors, "/thumbprints");
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let key = PublicKey::from_jwk(vector["jwk"].as_object().unwrap()).unwrap();
        assert_eq!(key.thumbprint().as_str(), text(vector, "/kid"), "{}", vector["src"]);
    }
}

#[test]
fn rsa_signatures_are_those_of_wycheproof() {
    let vectors = read("wycheproof/rsa_pkcs1_2048_sig_gen_test.json");
    let (mut valid, mut acceptable) = (0, 0);
    for group in list(&vectors, "/testGroups").iter().filter(|group| group["sha"] == "SHA-256") {
        let key = SigningKey::from_pkcs8(Algorithm::Rs256, &hex(group, "/privateKeyPkcs8")).unwrap();
        for test in list(group, "/tests") {
            assert_eq!(key.sign(&hex(test, "/msg")).unwrap(), hex(test, "/sig"), "{}", test["tcId"]);
            match text(test, "/result") {
                "valid" => valid += 1,
                _ => acceptable += 1,
            }
        }
    }
    assert_eq!((valid, acceptable), (8, 2));
}

/// Checks every case of a file. An "acceptable" one (a padding without its NULL) is refused.
fn check(file: &str, cases: usize, read_key: impl Fn(&Value) -> PublicKey) {
    let vectors = read(file);
    let mut seen = 0;
    for group in list(&vectors, "/testGroups") {
        let public = read_key(group);
        for name in ["keyJwk", "publicKeyJwk"] {
            if let Some(jwk) = group.get(name).and_then(Value::as_object) {
                assert_eq!(PublicKey::from_jwk(jwk).unwrap(), public);
            }
        }
        let key = VerifyKey::new(realm("test"), public).unwrap();
        for test in list(group, "/tests") {
            let verifies = key.verifies(&hex(test, "/msg"), &hex(test, "/sig"));
            assert_eq!(verifies, text(test, "/result") == "valid", "{file} {}: {}", test["tcId"], test["comment"]);
            seen += 1;
        }
    }
    assert!(cases > 0);
    assert_eq!((seen, vectors["numberOfTests"].as_u64().unwrap()), (cases, cases as u64));
}

#[test]
fn rsa_checks_are_those_of_wycheproof() {
    let rsa = |group: &Value| {
        let (n, e) = (hex(group, "/publicKey/modulus"), hex(group, "/publicKey/publicExponent"));
        PublicKey::rsa(Algorithm::Rs256, &n, &e).unwrap()
    };
    check("wycheproof/rsa_signature_2048_sha256_test.json", 259, rsa);
    check("wycheproof/rsa_signature_3072_sha256_test.json", 259, rsa);
}

#[test]
fn ed25519_checks_are_those_of_wycheproof() {
    let ed25519 = |group: &Value| PublicKey::ed25519(hex(group, "/publicKey/pk").try_into().unwrap()).unwrap();
    check("wycheproof/ed25519_test.json", 151, ed25519);
}

#[test]
fn p256_checks_are_those_of_wycheproof() {
    let p256 = |group: &Value| {
        let point = hex(group, "/publicKey/uncompressed");
        PublicKey::p256(point[1..33].try_into().unwrap(), point[33..].try_into().unwrap()).unwrap()
    };
    check("wycheproof/ecdsa_secp256r1_sha256_p1363_test.json", 262, p256);
}
