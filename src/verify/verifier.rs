//! Decides whether a token is valid now. Two halves: what the bytes say, which a cache may remember,
//! and whether that still holds, which is asked every time.

use std::sync::Arc;
use std::time::Duration;

use super::cache::TokenCache;
use super::jwt::{Compact, MAX_TOKEN_BYTES};
use super::keys::{Issuer, Issuers, KeySet, VerifyKey};
use super::rejection::Rejection;
use super::revocations::RevocationIndex;
use super::token::VerifiedToken;
use crate::domain::ids::RealmName;
use crate::domain::time::Timestamp;

/// How far clocks may disagree about `exp` and `nbf`: at most a minute (RFC 7519, section 4.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leeway(Duration);

impl Leeway {
    /// None: the authority checks by its own clock.
    pub const ZERO: Self = Self(Duration::ZERO);
    /// The most.
    pub const MAX: Self = Self(Duration::from_secs(60));

    /// `None` beyond a minute.
    pub fn new(leeway: Duration) -> Option<Self> {
        (leeway <= Self::MAX.0).then_some(Self(leeway))
    }
}

/// Checks access tokens, in memory alone.
#[derive(Debug)]
pub struct Verifier {
    keys: Arc<KeySet>,
    issuers: Arc<Issuers>,
    revocations: Arc<RevocationIndex>,
    leeway: Leeway,
    cache: Option<TokenCache>,
}

impl Verifier {
    /// Without leeway, and with a cache of about `cache_bytes`; 0 for none.
    pub fn new(
        keys: Arc<KeySet>,
        issuers: Arc<Issuers>,
        revocations: Arc<RevocationIndex>,
        cache_bytes: usize,
    ) -> Self {
        Self { keys, issuers, revocations, leeway: Leeway::ZERO, cache: TokenCache::new(cache_bytes) }
    }

    /// With a leeway: for a clock that is not the authority's.
    #[must_use]
    pub fn with_leeway(self, leeway: Leeway) -> Self {
        Self { leeway, ..self }
    }

    /// Whose signatures are checked.
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// Who may have issued a token.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The token, if it is one of the realm's and valid at `now`.
    pub fn verify(&self, realm: &RealmName, token: &str, now: Timestamp) -> Result<Arc<VerifiedToken>, Rejection> {
        let token = self.authenticate(realm, token)?;
        self.check(&token, now)?;
        Ok(token)
    }

    /// The token, if the realm made it: expired or revoked it may be. What is to be revoked needs
    /// no more (RFC 7009, section 2.1).
    pub fn authenticate(&self, realm: &RealmName, token: &str) -> Result<Arc<VerifiedToken>, Rejection> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLarge);
        }
        let issuer = self.issuers.of(realm).ok_or(Rejection::WrongRealm)?;
        let read = match &self.cache {
            None => Arc::new(self.read(realm, &issuer, token)?),
            Some(cache) => {
                let fingerprint = TokenCache::fingerprint(token);
                match cache.token(&fingerprint, issuer.profile()) {
                    Some(known) => {
                        // The cache must not outlive its reasons: a removed key ends its tokens here too.
                        if self.keys.key(&known.kid).is_none() {
                            cache.forget(&fingerprint);
                            return Err(Rejection::UnknownKey);
                        }
                        known
                    }
                    None => {
                        let read = Arc::new(self.read(realm, &issuer, token)?);
                        cache.insert(fingerprint, Arc::clone(&read), issuer.profile().clone(), token.len());
                        read
                    }
                }
            }
        };
        if read.realm != *realm {
            return Err(Rejection::WrongRealm);
        }
        if !issuer.accepts(&read.issuer) {
            return Err(Rejection::WrongIssuer);
        }
        Ok(read)
    }

    /// Whether an authentic token is valid at `now`. `iat` has no say: a token from a clock that is
    /// ahead is still the authority's.
    pub fn check(&self, token: &VerifiedToken, now: Timestamp) -> Result<(), Rejection> {
        if now >= token.expires + self.leeway.0 {
            return Err(Rejection::Expired);
        }
        if token.not_before.is_some_and(|not_before| now + self.leeway.0 < not_before) {
            return Err(Rejection::NotYetValid);
        }
        if self.revocations.ended(token) {
            return Err(Rejection::Revoked);
        }
        Ok(())
    }

    /// Cheap checks first, then the signature; claims are read only once they are authentic.
    ///
    /// Up to the signature, how long a refusal takes depends on nothing but the text and the realm's
    /// algorithms: both are known to whoever wrote it.
    fn read(&self, realm: &RealmName, issuer: &Issuer, token: &str) -> Result<VerifiedToken, Rejection> {
        let compact = Compact::parse(token)?;
        let named = self.named_key(realm, &compact);
        let signed = |key: &VerifyKey| key.verifies(compact.signing_input.as_bytes(), &compact.signature);
        match named {
            Ok(key) if signed(&key) => VerifiedToken::read(key.realm().clone(), compact.kid, issuer, &compact.payload),
            Ok(_) => Err(Rejection::BadSignature),
            Err(rejection) => {
                // A key that is not there, or another realm's, takes as long as a wrong signature.
                if let Some(key) = self.keys.stand_in(realm, compact.algorithm) {
                    std::hint::black_box(signed(&key));
                }
                Err(rejection)
            }
        }
    }

    /// The key that the token names, if it may sign the realm's tokens in that way.
    fn named_key(&self, realm: &RealmName, compact: &Compact<'_>) -> Result<Arc<VerifyKey>, Rejection> {
        let key = self.keys.key(&compact.kid).ok_or(Rejection::UnknownKey)?;
        if key.algorithm() != compact.algorithm {
            return Err(Rejection::WrongAlgorithm);
        }
        if key.realm() != realm {
            return Err(Rejection::WrongRealm);
        }
        Ok(key)
    }
}
