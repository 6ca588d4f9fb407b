//! How a process proves to the authority who calls: once made, added to each call. A certificate is shown
//! by TLS instead, and needs nothing here.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tokio::time::Instant;
use tonic::Status;
use zeroize::Zeroizing;

use crate::clock::{Clock, SystemClock};

/// A kubelet renews a token when a fifth of its life is left, so that the old one is still good.
const FILE_IS_READ_EVERY: Duration = Duration::from_secs(30);
const ASSERTION_LIFETIME_SECONDS: i64 = 60;
/// What forms leave as it is (RFC 6749, appendix B; everything else may be encoded).
const PLAIN: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProof {
    /// Of another kind than is known, or damaged.
    #[error("not a private key as PEM (PKCS#8): Ed25519, EC P-256 or RSA")]
    Key,
    /// A client's name or secret with characters that no header has.
    #[error("not a client's name and secret")]
    Secret,
}

/// What a channel shows of its caller. Cheap to clone.
#[derive(Clone, Default)]
pub struct Proof(Kind);

#[derive(Clone, Default)]
enum Kind {
    /// Nothing, or a certificate.
    #[default]
    Nothing,
    /// `client_secret_basic`.
    Secret(HeaderValue),
    /// `private_key_jwt`: an assertion a call, since each is good for one.
    Assertion(Arc<Assertion>),
    /// A token that somebody else renews.
    File(Arc<TokenFile>),
}

struct Assertion {
    client_id: String,
    issuer: String,
    algorithm: Algorithm,
    key: EncodingKey,
    clock: SystemClock,
}

struct TokenFile {
    path: PathBuf,
    last: Mutex<Option<(Instant, HeaderValue)>>,
}

impl Proof {
    /// A registered client's secret.
    pub fn secret(client_id: &str, secret: &str) -> Result<Self, InvalidProof> {
        let encoded = |text: &str| percent_encoding::utf8_percent_encode(text, PLAIN).to_string();
        let pair = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(secret)));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        if client_id.is_empty() || secret.is_empty() {
            return Err(InvalidProof::Secret);
        }
        header(&value).map(Kind::Secret).map(Self).ok_or(InvalidProof::Secret)
    }

    /// A registered client's private key, as PEM; `issuer` is that of the realm that is called.
    pub fn private_key(client_id: &str, issuer: &str, pem: &[u8]) -> Result<Self, InvalidProof> {
        let parsed = [
            (Algorithm::EdDSA, EncodingKey::from_ed_pem(pem)),
            (Algorithm::ES256, EncodingKey::from_ec_pem(pem)),
            (Algorithm::RS256, EncodingKey::from_rsa_pem(pem)),
        ];
        let (algorithm, key) = parsed
            .into_iter()
            .find_map(|(algorithm, key)| key.ok().map(|key| (algorithm, key)))
            .ok_or(InvalidProof::Key)?;
        let (client_id, issuer) = (client_id.to_owned(), issuer.to_owned());
        let assertion = Assertion { client_id, issuer, algorithm, key, clock: SystemClock::default() };
        assertion.sign().ok_or(InvalidProof::Key)?;
        Ok(Self(Kind::Assertion(Arc::new(assertion))))
    }

    /// A token in a file, such as that of a Kubernetes service account, read again as it is renewed.
    pub fn token_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = TokenFile { path: path.as_ref().to_owned(), last: Mutex::default() };
        file.read()?;
        Ok(Self(Kind::File(Arc::new(file))))
    }

    /// The value of `authorization` for a call that is made now.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, Status> {
        match &self.0 {
            Kind::Nothing => Ok(None),
            Kind::Secret(value) => Ok(Some(value.clone())),
            Kind::Assertion(assertion) => {
                let signed = assertion.sign().ok_or_else(|| Status::internal("the assertion can't be signed"))?;
                Ok(Some(signed))
            }
            Kind::File(file) => file.value().map(Some),
        }
    }
}

impl Assertion {
    /// RFC 7523, section 3.
    fn sign(&self) -> Option<HeaderValue> {
        let mut id = [0; 16];
        rand::fill(&mut id).ok()?;
        let now = self.clock.now().seconds();
        let claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": self.issuer, "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now, "exp": now + ASSERTION_LIFETIME_SECONDS,
        });
        let signed = jsonwebtoken::encode(&Header::new(self.algorithm), &claims, &self.key).ok()?;
        header(&format!("Bearer {signed}"))
    }
}

impl TokenFile {
    fn value(&self) -> Result<HeaderValue, Status> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((read, value)) = &*last
            && now.duration_since(*read) < FILE_IS_READ_EVERY
        {
            return Ok(value.clone());
        }
        let read = self.read().ok().or_else(|| last.take().map(|(_, value)| value));
        let value = read.ok_or_else(|| Status::unavailable("the file with the caller's token can't be read"))?;
        *last = Some((now, value.clone()));
        Ok(value)
    }

    fn read(&self) -> io::Result<HeaderValue> {
        let token = Zeroizing::new(fs::read_to_string(&self.path)?);
        header(&format!("Bearer {}", token.trim())).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn header(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Nothing => "Proof(none)",
            Kind::Secret(_) => "Proof(secret)",
            Kind::Assertion(_) => "Proof(private key)",
            Kind::File(_) => "Proof(token file)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_encoded_as_in_a_form_first() {
        let shown = Proof::secret("a:b", "s %é").expect("a proof").authorization().expect("shown").expect("a value");
        let encoded = shown.to_str().expect("ASCII").strip_prefix("Basic ").expect("Basic");
        assert_eq!(STANDARD.decode(encoded).expect("base64"), b"a%3Ab:s%20%25%C3%A9");
        assert!(shown.is_sensitive() && Proof::secret("a", "").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_file_is_read_again_and_the_last_token_stays() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let write = |text: &str| fs::write(file.path(), text).expect("writes");
        write("first\n");
        let proof = Proof::token_file(file.path()).expect("a proof");
        let shown = || proof.authorization().expect("shown").expect("a value").to_str().expect("ASCII").to_owned();
        assert_eq!(shown(), "Bearer first");
        write("second\n");
        assert_eq!(shown(), "Bearer first");
        tokio::time::advance(FILE_IS_READ_EVERY).await;
        assert_eq!(shown(), "Bearer second");
        fs::remove_file(file.path()).expect("removes");
        tokio::time::advance(FILE_IS_READ_EVERY).await;
        assert_eq!(shown(), "Bearer second");
        assert!(Proof::token_file(file.path()).is_err());
    }
}
