//! A realm with keys, its verifier, and a way to sign anything at all with those keys.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::{RealmName, Route, SessionId, Sid, SubjectKey, TokenId};
use token_authority::domain::revocation::{LogUpdate, Position};
use token_authority::domain::time::Timestamp;
use token_authority::signing::key::SigningKey;
use token_authority::verify::keys::{Issuers, KeySet};
use token_authority::verify::revocations::RevocationIndex;
use token_authority::verify::{Rejection, VerifiedToken, Verifier};

pub(crate) const ISSUER: &str = "https://issuer.example/web";
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

/// RSA keys take long to make: one of each algorithm for all tests.
static KEYS: LazyLock<Vec<SigningKey>> = LazyLock::new(|| Algorithm::ALL.map(new_key).into());

pub(crate) fn new_key(algorithm: Algorithm) -> SigningKey {
    let der = SigningKey::generate(algorithm).unwrap();
    SigningKey::from_pkcs8(algorithm, &der).unwrap()
}

pub(crate) fn realm(name: &str) -> RealmName {
    RealmName::parse(name).unwrap()
}

pub(crate) fn sid() -> Sid {
    Sid { pepper_id: 1, subject: SubjectKey([2; 16]), session: SessionId([3; 16]) }
}

pub(crate) fn token_id(route: Route) -> TokenId {
    TokenId { epoch: 4, origin: NOW, random: [5; 16], route }
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Realm `web` has a key of each algorithm; realm `other` has an EdDSA key and the same issuer.
pub(crate) struct Forge {
    pub(crate) keys: Arc<KeySet>,
    pub(crate) issuers: Arc<Issuers>,
    pub(crate) revocations: Arc<RevocationIndex>,
    pub(crate) verifier: Verifier,
    pub(crate) foreign: SigningKey,
}

impl Forge {
    pub(crate) fn new() -> Self {
        let (keys, issuers) = (Arc::new(KeySet::default()), Arc::new(Issuers::default()));
        for key in KEYS.iter() {
            keys.install(key.verify_key(realm("web")).unwrap()).unwrap();
        }
        let foreign = new_key(Algorithm::EdDsa);
        keys.install(foreign.verify_key(realm("other")).unwrap()).unwrap();
        for name in ["web", "other"] {
            issuers.set(realm(name), [ISSUER.to_owned()], Arc::default());
        }
        let revocations = Arc::new(RevocationIndex::new(1));
        let head = Position { partition: 0, number: 1, tag: 0 };
        revocations.apply(&LogUpdate::Snapshot { head, entries: Vec::new() });
        let verifier = Verifier::new(Arc::clone(&keys), Arc::clone(&issuers), Arc::clone(&revocations), 1 << 20);
        Self { keys, issuers, revocations, verifier, foreign }
    }

    pub(crate) fn key(&self, algorithm: Algorithm) -> &'static SigningKey {
        KEYS.iter().find(|key| key.algorithm() == algorithm).unwrap()
    }

    pub(crate) fn header(&self, algorithm: Algorithm) -> Value {
        json!({ "alg": algorithm.name(), "typ": "at+jwt", "kid": self.key(algorithm).kid().as_str() })
    }

    pub(crate) fn payload(&self) -> Value {
        json!({
            "iss": ISSUER, "sub": "alice", "aud": ["api"], "client_id": "app",
            "exp": NOW.seconds() + 900, "iat": NOW.seconds(), "jti": token_id(Route::BySid).to_string(),
            "scope": "read write", "sid": sid().to_string(), "role": "admin",
        })
    }

    /// Header and payload as they are, signed with a right key: only what they say can be wrong.
    pub(crate) fn signed(&self, algorithm: Algorithm, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let input = format!("{}.{}", b64(header), b64(payload));
        let signature = self.key(algorithm).sign(input.as_bytes()).unwrap();
        format!("{input}.{}", b64(signature))
    }

    pub(crate) fn token(&self, algorithm: Algorithm) -> String {
        self.signed(algorithm, self.header(algorithm).to_string(), self.payload().to_string())
    }

    pub(crate) fn verify(&self, token: &str) -> Result<Arc<VerifiedToken>, Rejection> {
        self.verifier.verify(&realm("web"), token, NOW)
    }

    /// Refused, for that reason, at the first and at the second sight.
    #[track_caller]
    pub(crate) fn refuses(&self, what: &str, token: &str, reason: Rejection) {
        for sight in ["first", "second"] {
            assert_eq!(self.verify(token).err(), Some(reason), "{what}, at {sight} sight");
        }
    }
}
