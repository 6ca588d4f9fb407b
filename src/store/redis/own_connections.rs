//! Connections that live in the runtimes which use them: what a call asks of Redis wakes no other thread, and
//! what many calls ask in one turn goes out together.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use fred::clients::Client;
use tokio::runtime::{Handle, Id};

use super::{commits, reads};

/// A connection, and what is about to leave over it.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) reads: reads::Turn,
    pub(super) commits: commits::Turn,
    /// Commits that replicas must have, which leave over others.
    pub(super) awaited: commits::Turn,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            reads: reads::Turn::default(),
            commits: commits::Turn::default(),
            awaited: commits::Turn::default(),
        }
    }
}

/// By the runtime that each lives in.
#[derive(Debug, Default)]
pub(super) struct Own(RwLock<HashMap<Id, Connection>>);

impl Own {
    /// That of the runtime that this runs in, if it has one.
    pub(super) fn here(&self) -> Option<Connection> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&Handle::current().id()).cloned()
    }

    pub(super) fn all(&self) -> Vec<Connection> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Makes this connection, which was opened in this runtime, its own.
    pub(super) fn settle(self: &Arc<Self>, connection: Connection) -> Settled {
        let runtime = Handle::current().id();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(runtime, connection);
        Settled { own: self.clone(), runtime }
    }
}

/// A runtime has a connection of its own for as long as this is held.
#[derive(Debug)]
pub(super) struct Settled {
    own: Arc<Own>,
    runtime: Id,
}

impl Drop for Settled {
    fn drop(&mut self) {
        self.own.0.write().unwrap_or_else(PoisonError::into_inner).remove(&self.runtime);
    }
}
