//! The client's SDK, without a network, in this process: checking a token that it knows, and one that it
//! doesn't.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use token_authority::client::{Verifier, WhenStale};
use tonic::transport::Channel;

use crate::Failure;
use crate::callers::AUDIENCE;
use crate::limits::on_all_cores;
use crate::load::Measured;
use crate::process::ISSUER;

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
