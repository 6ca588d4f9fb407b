//! Remembers which exact bytes were a token with a right signature. Never remembers a refusal, and
//! never whether a token is still valid: time and revocation are asked at each use.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use super::token::VerifiedToken;
use super::uniform::{Build, Uniform};
use crate::domain::token_profile::TokenProfile;

/// What a token takes beside its own bytes: its fields, and the cache's entry.
const OVERHEAD: u64 = 512;
/// A guess at a token's length, to size the tables only.
const TYPICAL: u64 = 1024;

/// A token's SHA-256. Whoever finds two texts with one digest has broken the signatures as well.
pub(super) type Fingerprint = Uniform<32>;

#[derive(Clone)]
struct Entry {
    token: Arc<VerifiedToken>,
    /// By which its claims were read.
    profile: Arc<TokenProfile>,
    length: u32,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Fingerprint, Entry> for ByBytes {
    fn weight(&self, _: &Fingerprint, entry: &Entry) -> u64 {
        OVERHEAD + u64::from(entry.length)
    }
}

/// Bounded by the bytes that its tokens take, about.
pub(super) struct TokenCache(Cache<Fingerprint, Entry, ByBytes, Build>);

impl TokenCache {
    /// `None` if the cache is to hold nothing.
    pub(super) fn new(bytes: usize) -> Option<Self> {
        let items = bytes / usize::try_from(OVERHEAD + TYPICAL).unwrap_or(usize::MAX);
        let options =
            OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(bytes as u64).build().ok()?;
        (bytes > 0).then(|| Self(Cache::with_options(options, ByBytes, Build::default(), Default::default())))
    }

    pub(super) fn fingerprint(token: &str) -> Fingerprint {
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.as_ref());
        Uniform(bytes)
    }

    /// What was read by this profile: by another one, the same bytes may say something else, or nothing.
    pub(super) fn token(&self, fingerprint: &Fingerprint, profile: &Arc<TokenProfile>) -> Option<Arc<VerifiedToken>> {
        self.0.get(fingerprint).filter(|entry| entry.profile == *profile).map(|entry| entry.token)
    }

    pub(super) fn insert(
        &self,
        fingerprint: Fingerprint,
        token: Arc<VerifiedToken>,
        profile: Arc<TokenProfile>,
        length: usize,
    ) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.0.insert(fingerprint, Entry { token, profile, length });
    }

    pub(super) fn forget(&self, fingerprint: &Fingerprint) {
        self.0.remove(fingerprint);
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenCache({} tokens)", self.0.len())
    }
}
