//! What the servers on one Redis say to each other: published on a channel of its own. Knows no word.

use async_trait::async_trait;
use fred::interfaces::{EventInterface as _, PubsubInterface as _};
use fred::types::Value;
use futures::stream::{BoxStream, unfold};
use tokio::sync::broadcast::error::RecvError;

use super::RedisStore;
use super::fault;
use super::log::bytes;
use crate::authority::ports::{Peers, StoreError};

#[async_trait]
impl Peers for RedisStore {
    async fn tell(&self, words: &[u8]) -> Result<(), StoreError> {
        let told: Result<Value, _> = self.connections.common().publish(self.keys.peers(), words).await;
        told.map(drop).map_err(|error| fault::of_read(&error))
    }

    fn hear(&self) -> BoxStream<'static, Vec<u8>> {
        let heard = (self.connections.subscriber.message_rx(), self.keys.peers());
        Box::pin(unfold(heard, |(mut messages, channel)| async move {
            loop {
                match messages.recv().await {
                    Ok(message) if *message.channel == *channel => {
                        // Anybody may publish anything.
                        let Ok(words) = bytes(message.value) else { continue };
                        return Some((words.to_vec(), (messages, channel)));
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        }))
    }
}
