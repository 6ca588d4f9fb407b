//! `wait_for_subscribers`: read before a revocation, counted after it. Knows no revocation.

use std::time::Duration;

use tonic::Status;

use crate::authority::revocation_feed::Tally;
use crate::authority::{Authority, Error};
use crate::domain::revocation::Revision;

use super::status::status;

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait(Option<Duration>);

impl Wait {
    /// A negative one is refused, before anything is revoked.
    pub(super) fn parse(asked: Option<prost_types::Duration>) -> Result<Self, Status> {
        let negative = || status(Error::invalid("wait_for_subscribers", "must not be negative"));
        Ok(Self(asked.map(|wait| Duration::try_from(wait).map_err(|_| negative())).transpose()?))
    }

    /// Waits as asked; counts only if asked at all.
    pub(super) async fn counts(
        self,
        authority: &Authority,
        realm: &str,
        revision: &Revision,
    ) -> Result<Counts, Status> {
        let Self(Some(wait)) = self else { return Ok(Counts::default()) };
        let Tally { enforced, subscribers } = authority.receipts(realm, revision, wait).await.map_err(status)?;
        let count = |count| i32::try_from(count).unwrap_or(i32::MAX);
        Ok(Counts { enforced: count(enforced), subscribers: count(subscribers) })
    }
}

/// As an answer carries them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) enforced: i32,
    pub(super) subscribers: i32,
}
