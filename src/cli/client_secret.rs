//! `client-secret`: a new secret for a client of the HTTP endpoints, and the hash that a realm file
//! keeps of it. Talks to no server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use zeroize::Zeroizing;

use super::Streams;
use super::failure::{Exit, Failure};
use crate::authority::ports::Entropy as _;
use crate::system::SystemEntropy;
use crate::verify::client::SecretHash;

/// So that scanners of repositories recognise one.
const PREFIX: &str = "tas_";

/// Make a client's secret, and its hash for the realm file
#[derive(Debug, Args)]
pub(super) struct ClientSecret {}

impl ClientSecret {
    #[allow(clippy::unused_self, reason = "each command runs the same way")]
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let mut random = Zeroizing::new([0; 32]);
        SystemEntropy.fill(&mut random[..]);
        let secret = Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&random[..])));
        let hash = SecretHash::of(&secret).ok_or_else(|| Failure::refused("no secret could be made"))?;
        writeln!(streams.out, "secret  {}", *secret)?;
        writeln!(streams.out, "hash    {hash}")?;
        writeln!(
            streams.err,
            "the secret is for the client alone; the hash goes into `secrets` of its [[realm.clients]]"
        )?;
        Ok(Exit::Done)
    }
}
