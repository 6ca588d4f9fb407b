//! The client's SDK beside what it can't do without: hashing a token that it knows, and checking the
//! signature of one that it doesn't. Without a network, in this process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use token_authority::client::{Verifier, WhenStale};
use tonic::transport::Channel;

use crate::Failure;
use crate::limits::on_all_cores;
use crate::load::Measured;
use crate::process::ISSUER;

/// What issued tokens are for.
const AUDIENCE: &str = "https://api.example.com";

/// Hashes a token, as whoever looks it up has to.
pub(crate) fn hash(token: &str, time: Duration) -> Measured {
    on_all_cores(time, || digest::digest(&digest::SHA256, token.as_bytes()).as_ref().len() == 32)
}

/// A verifier that has the realm's keys and knows this token.
pub(crate) async fn verifier(authority: Channel, realm: &str, token: &str) -> Result<Verifier, Failure> {
    let issuer = match realm {
        "default" => ISSUER.to_owned(),
        _ => format!("{ISSUER}/realms/{realm}"),
    };
    let verifier = Verifier::builder(authority, &issuer, AUDIENCE).realm(realm);
    let verifier = verifier.max_staleness(Duration::ZERO, WhenStale::Accept).build()?;
    verifier.verify(token).await?;
    Ok(verifier)
}

/// Checks a token that it knows, on all cores.
pub(crate) fn known(verifier: &Verifier, token: &str, time: Duration) -> Measured {
    on_all_cores(time, || matches!(verifier.verify_known(token), Some(Ok(_))))
}

/// Checks each token once, on all cores.
pub(crate) fn first(verifier: &Verifier, tokens: &[String], time: Duration) -> Measured {
    let next = AtomicUsize::new(0);
    on_all_cores(time, || {
        let token = tokens.get(next.fetch_add(1, Ordering::Relaxed));
        token.is_some_and(|token| matches!(verifier.verify_known(token), Some(Ok(_))))
    })
}
