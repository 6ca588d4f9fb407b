//! Reading a store whole, as operators do to copy it or to look into it: a port beside the one that
//! serves, which never asks for more than one record. Knows no command, and opens no record.

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::authority::ports::{RecordKey, Store, StoreError, Stored};
use crate::domain::revocation::{Owner, RevocationEntry};
use crate::domain::time::Timestamp;

/// A record as it is kept, with its place and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it stands.
    pub key: RecordKey,
    /// What is there.
    pub stored: Stored,
    /// When the store may drop it; `None`: never.
    pub expires: Option<Timestamp>,
}

/// A store that can be read whole.
#[async_trait]
pub trait Scan: Store {
    /// Sends every record that has not expired; stops early if nobody receives any more. One that
    /// is there throughout is sent, and maybe twice; whether one that comes meanwhile is, is open.
    async fn scan(&self, rows: mpsc::Sender<Row>) -> Result<(), StoreError>;

    /// The whole revocation log, expired entries among it, each with whose record it was committed with.
    async fn entries(&self) -> Result<Vec<(Option<Owner>, RevocationEntry)>, StoreError>;

    /// What the store says of itself, for people.
    async fn condition(&self) -> Result<Condition, StoreError>;
}

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// How its servers stand to each other, or that it has none.
    pub topology: &'static str,
    /// What holds the data: the primaries, or the one file.
    pub parts: Vec<Part>,
}

/// One server or file of a store: its name, and what is known of it, in the order to show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// An address or a path.
    pub name: String,
    /// Names and values.
    pub facts: Vec<(&'static str, String)>,
}
