//! Reading the revocation log: a partition whole, or where each has got to. Knows no follower.

use std::sync::Arc;

use fred::bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::KeysInterface as _;
use fred::types::Value;
use fred::types::config::Options;
use futures::future::try_join_all;

use super::connect::following_slots;
use super::fault;
use super::layout::{Keys, Linked, PARTITIONS, decode_entry, decode_head};
use super::script::Script;
use crate::authority::ports::StoreError;
use crate::domain::revocation::Position;

#[derive(Debug, Clone)]
pub(super) struct Log {
    client: Client,
    keys: Keys,
    snapshot: Arc<Script>,
}

impl Log {
    pub(super) fn new(client: Client, keys: Keys) -> Self {
        Self { client, keys, snapshot: Arc::new(Script::snapshot()) }
    }

    /// A partition's head and its entries.
    pub(super) async fn snapshot(&self, partition: u16) -> Result<(Position, Vec<Linked>), StoreError> {
        let keys = [self.keys.head(partition), self.keys.log(partition)];
        let options = Options::default();
        let send = || self.snapshot.run(&self.client, &options, &keys, &[]);
        let answer = following_slots(send).await;
        let answer = answer.map_err(|error| fault::of_read(&error))?;
        let (head, rows) = answer
            .convert::<(Value, Vec<Value>)>()
            .map_err(|_| StoreError::Corrupt("the answer to a snapshot of the log".into()))?;
        let head = decode_head(partition, &bytes(head)?)?;
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            entries.push(decode_entry(partition, &bytes(row)?)?);
        }
        Ok((head, entries))
    }

    /// Every partition's, in their order.
    pub(super) async fn snapshots(&self) -> Result<Vec<(Position, Vec<Linked>)>, StoreError> {
        try_join_all((0..PARTITIONS).map(|partition| self.snapshot(partition))).await
    }

    /// Where every partition has got to, in their order.
    pub(super) async fn heads(&self) -> Result<Vec<Position>, StoreError> {
        try_join_all((0..PARTITIONS).map(|partition| self.head(&self.client, partition))).await
    }

    /// Where a partition has got to, asked over this connection.
    pub(super) async fn head(&self, connection: &Client, partition: u16) -> Result<Position, StoreError> {
        let name = self.keys.head(partition);
        let head = following_slots(|| connection.get(&name)).await;
        let head: Option<Value> = head.map_err(|error| fault::of_read(&error))?;
        head.map_or(Ok(Position { partition, number: 0, tag: 0 }), |head| decode_head(partition, &bytes(head)?))
    }
}

/// What a value holds, if it holds bytes.
pub(super) fn bytes(value: Value) -> Result<Bytes, StoreError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::String(text) => Ok(text.into_inner()),
        _ => Err(StoreError::Corrupt("an answer is not of bytes".into())),
    }
}
