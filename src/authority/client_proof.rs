//! What a client sends to prove who it is. Whether it holds is asked elsewhere.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// A proof.
pub enum ClientProof {
    /// `client_secret_basic`, `client_secret_post`.
    Secret {
        /// Who it says to be.
        id: String,
        /// The secret.
        secret: Zeroizing<String>,
    },
    /// `private_key_jwt`.
    Assertion {
        /// Who it says to be beside the assertion, if it does.
        id: Option<String>,
        /// The JWT.
        assertion: String,
    },
}

impl ClientProof {
    /// Id and secret of HTTP Basic, each encoded as in a form first (RFC 6749, section 2.3.1).
    pub fn basic(encoded: &str) -> Option<Self> {
        let pair = Zeroizing::new(String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?);
        let (id, secret) = pair.split_once(':')?;
        let decoded = |text: &str| Some(percent_decode_str(&text.replace('+', " ")).decode_utf8().ok()?.into_owned());
        Some(Self::Secret { id: decoded(id)?, secret: Zeroizing::new(decoded(secret)?) })
    }
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientProof(..)")
    }
}
