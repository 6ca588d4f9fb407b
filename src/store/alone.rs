//! The instance on a store that is nobody else's: it has no peers.

use async_trait::async_trait;
use futures::stream::{BoxStream, pending};

use crate::authority::ports::{Peers, StoreError};

/// Talks to nobody.
#[derive(Debug)]
pub struct Alone;

#[async_trait]
impl Peers for Alone {
    async fn tell(&self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn hear(&self) -> BoxStream<'static, Vec<u8>> {
        Box::pin(pending())
    }
}
