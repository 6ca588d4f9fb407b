//! What is asked over HTTP/1.1, of this server and of its peers alike: refreshing down a chain by
//! RFC 6749, section 6. Introspection (RFC 7662) is one form again and again.

use serde::Deserialize;
use tonic::codegen::Bytes;

use crate::callers::Repeat;
use crate::load::Caller;

/// Introspects one token.
pub(crate) fn introspect(token: &str) -> Repeat {
    Repeat::new(format!("token={token}").into(), is_active)
}

/// As each of them writes it.
fn is_active(answer: &[u8]) -> bool {
    const ACTIVE: &[u8] = br#""active":true"#;
    answer.windows(ACTIVE.len()).any(|part| part == ACTIVE)
}

/// Refreshes with what the refresh before it got.
pub(crate) struct RefreshForm {
    refresh_token: String,
}

impl RefreshForm {
    pub(crate) fn all(refresh_tokens: impl IntoIterator<Item = String>) -> Vec<Self> {
        refresh_tokens.into_iter().map(|refresh_token| Self { refresh_token }).collect()
    }
}

#[derive(Deserialize)]
struct Tokens {
    refresh_token: String,
}

impl Caller for RefreshForm {
    fn request(&mut self) -> Option<Bytes> {
        Some(format!("grant_type=refresh_token&refresh_token={}", self.refresh_token).into())
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), String> {
        let tokens: Tokens = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        self.refresh_token = tokens.refresh_token;
        Ok(())
    }
}
