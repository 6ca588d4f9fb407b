//! The registered clients of one realm. Who proved to be one of them is asked elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::ids::ClientId;
use crate::verify::client::RegisteredClient;

/// A realm's clients, found by what they show.
#[derive(Debug, Default, PartialEq)]
pub struct Clients {
    by_id: HashMap<ClientId, Arc<RegisteredClient>>,
}

impl Clients {
    /// Of a realm.
    pub fn new(registered: impl IntoIterator<Item = RegisteredClient>) -> Self {
        let by_id = |client: RegisteredClient| (client.client.id.clone(), Arc::new(client));
        Self { by_id: registered.into_iter().map(by_id).collect() }
    }

    /// Whether the operator registered nobody.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The client of that name.
    pub fn find(&self, id: &ClientId) -> Option<&Arc<RegisteredClient>> {
        self.by_id.get(id)
    }
}
