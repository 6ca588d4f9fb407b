//! A private key, parsed once and ready to sign. All private operations are aws-lc's; where the key
//! is kept, and when it may sign, is not known here.

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{error::Unspecified, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::SignError;
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::{KeyId, RealmName};
use crate::verify::keys::{InvalidKey, PublicKey, VerifyKey, hmac_key};

/// The `typ` of an access token (RFC 9068, section 2.1).
const ACCESS_TOKEN: &str = "at+jwt";

enum Private {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// Boxed: ten times the size of the others.
    Secret(Box<hmac::Key>),
}

/// A key that signs: one algorithm, one `kid`.
pub struct SigningKey {
    algorithm: Algorithm,
    kid: KeyId,
    /// `None` for a symmetric key.
    public: Option<PublicKey>,
    private: Private,
    /// Of what it was parsed from.
    source: Digest,
    /// The header of every token that it signs, already in base64url.
    header: String,
}

impl SigningKey {
    /// Makes a key: PKCS#8 in DER, RSA of 2048 bits. For HS256, which has no PKCS#8, 32 random bytes.
    pub fn generate(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let bytes = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)?.as_ref().to_vec()
            }
            Algorithm::Es256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?.as_ref().to_vec()
            }
            Algorithm::EdDsa => Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref().to_vec(),
            Algorithm::Hs256 => {
                let mut bytes = vec![0; 32];
                rand::fill(&mut bytes)?;
                bytes
            }
        };
        Ok(Zeroizing::new(bytes))
    }

    /// Parses what [`generate`](Self::generate) makes. RSA below 2048 bits and HS256 below 32 bytes
    /// are refused (RFC 7518, sections 3.2 and 3.3).
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, InvalidKey> {
        let rejected = |_| InvalidKey::Rejected;
        let source = digest(&SHA256, der);
        match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let pair = RsaKeyPair::from_pkcs8(der).map_err(rejected)?;
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                let public = PublicKey::rsa(
                    algorithm,
                    n.big_endian_without_leading_zero(),
                    e.big_endian_without_leading_zero(),
                )?;
                let padding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                Ok(Self::asymmetric(public, Private::Rsa(pair, padding), source))
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map_err(rejected)?;
                // Uncompressed: 4 ‖ x ‖ y (SEC 1, section 2.3.3).
                let point: &[u8; 65] = pair.public_key().as_ref().try_into().map_err(|_| InvalidKey::Rejected)?;
                let coordinate = |from: usize| std::array::from_fn(|i| point[from + i]);
                let public = PublicKey::p256(coordinate(1), coordinate(33))?;
                Ok(Self::asymmetric(public, Private::P256(pair), source))
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(der).map_err(rejected)?;
                let x = pair.public_key().as_ref().try_into().map_err(|_| InvalidKey::Rejected)?;
                Ok(Self::asymmetric(PublicKey::ed25519(x)?, Private::Ed25519(pair), source))
            }
            Algorithm::Hs256 => {
                let (kid, key) = hmac_key(der)?;
                let header = header(algorithm, ACCESS_TOKEN, &kid);
                Ok(Self { algorithm, kid, public: None, private: Private::Secret(key), source, header })
            }
        }
    }

    fn asymmetric(public: PublicKey, private: Private, source: Digest) -> Self {
        let (algorithm, kid) = (public.algorithm(), public.thumbprint());
        let header = header(algorithm, ACCESS_TOKEN, &kid);
        Self { algorithm, kid, public: Some(public), private, source, header }
    }

    /// Whether parsing these bytes would give this key again.
    pub fn is_of(&self, algorithm: Algorithm, der: &[u8]) -> bool {
        self.algorithm == algorithm && self.source.as_ref() == digest(&SHA256, der).as_ref()
    }

    /// Its name in the header: the RFC 7638 thumbprint, and for HS256 a MAC in its place.
    pub fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// The one algorithm that it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What may be published; `None` for HS256.
    pub fn public(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    /// What checks its signatures.
    pub fn verify_key(&self, realm: RealmName) -> Result<VerifyKey, InvalidKey> {
        match (&self.public, &self.private) {
            (Some(public), _) => VerifyKey::new(realm, public.clone()),
            (None, Private::Secret(key)) => Ok(VerifyKey::parsed_secret(realm, self.kid.clone(), key.clone())),
            (None, _) => Err(InvalidKey::WrongKind),
        }
    }

    /// Signs the bytes as they are (RFC 7518, section 3; RFC 8037, section 3.1).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.private {
            Private::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &SystemRandom::new(), message, &mut signature)?;
                Ok(signature)
            }
            Private::P256(pair) => Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec()),
            Private::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
            Private::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }

    /// How long each of its signatures is.
    pub(super) fn signature_bytes(&self) -> usize {
        match &self.private {
            Private::Rsa(pair, _) => pair.public_modulus_len(),
            Private::P256(_) | Private::Ed25519(_) => 64,
            Private::Secret(_) => 32,
        }
    }

    /// Whether a signature takes so long that it would stall other calls: RSA 380 µs, all others
    /// 20 µs at most.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self.private, Private::Rsa(..))
    }

    /// The encoded header (RFC 9068, section 2.1).
    pub(super) fn header(&self) -> &str {
        &self.header
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {}, ..)", self.algorithm, self.kid)
    }
}

impl From<Unspecified> for SignError {
    fn from(_: Unspecified) -> Self {
        Self::Failed
    }
}

/// A header in base64url. No name needs escaping: each is base64url or a constant.
pub(super) fn header(algorithm: Algorithm, typ: &'static str, kid: &KeyId) -> String {
    URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","typ":"{typ}","kid":"{kid}"}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm() -> RealmName {
        RealmName::parse("test").expect("a realm")
    }

    #[test]
    fn each_algorithm_signs_what_its_own_key_verifies() {
        for algorithm in Algorithm::ALL {
            let der = SigningKey::generate(algorithm).expect("a key");
            let key = SigningKey::from_pkcs8(algorithm, &der).expect("its own encoding");
            let verify = key.verify_key(realm()).expect("its other half");
            let signature = key.sign(b"message").expect("a signature");
            assert_eq!((key.algorithm(), verify.algorithm()), (algorithm, algorithm));
            assert_eq!(key.kid(), verify.kid());
            assert!(verify.verifies(b"message", &signature), "{algorithm}");
            assert!(!verify.verifies(b"massage", &signature), "{algorithm}");
            assert!(!verify.verifies(b"message", &signature[1..]), "{algorithm}");
            assert_eq!(key.public().is_none(), algorithm == Algorithm::Hs256);
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        for made in Algorithm::ALL {
            let der = SigningKey::generate(made).expect("a key");
            let is_rsa = |algorithm| matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256);
            for read in Algorithm::ALL.into_iter().filter(|read| *read != Algorithm::Hs256) {
                let fits = made == read || is_rsa(made) && is_rsa(read);
                assert_eq!(SigningKey::from_pkcs8(read, &der).is_ok(), fits, "{made} as {read}");
            }
        }
        assert_eq!(SigningKey::from_pkcs8(Algorithm::Hs256, &[7; 31]).err(), Some(InvalidKey::WrongSize));
    }

    #[test]
    fn nothing_private_is_printed() {
        let der = SigningKey::generate(Algorithm::Hs256).expect("a key");
        let key = SigningKey::from_pkcs8(Algorithm::Hs256, &der).expect("its own encoding");
        assert_eq!(format!("{key:?}"), format!("SigningKey(HS256 {}, ..)", key.kid()));
    }
}
