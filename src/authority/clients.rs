//! The registered clients of one realm, found by what they show. Whether that is proven is asked elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::caller_name::{CertificateName, ServiceAccount};
use crate::domain::ids::ClientId;
use crate::verify::client::RegisteredClient;

/// A realm's clients.
#[derive(Debug, Default, PartialEq)]
pub struct Clients {
    by_id: HashMap<ClientId, Arc<RegisteredClient>>,
    by_certificate: HashMap<String, (Arc<RegisteredClient>, CertificateName)>,
    by_service_account: HashMap<ServiceAccount, Arc<RegisteredClient>>,
}

impl Clients {
    /// Of a realm; no two have a name in common.
    pub fn new(registered: impl IntoIterator<Item = RegisteredClient>) -> Self {
        let mut clients = Self::default();
        for client in registered.into_iter().map(Arc::new) {
            let named = |name: &CertificateName| (name.as_str().to_owned(), (client.clone(), name.clone()));
            let names = client.certificates.iter().map(named);
            clients.by_certificate.extend(names);
            let accounts = client.service_accounts.iter().map(|account| (account.clone(), client.clone()));
            clients.by_service_account.extend(accounts);
            clients.by_id.insert(client.client.id.clone(), client);
        }
        clients
    }

    /// Whether the operator registered nobody.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The client of that name.
    pub fn find(&self, id: &ClientId) -> Option<&Arc<RegisteredClient>> {
        self.by_id.get(id)
    }

    /// The client that a certificate with these names is of, and by which of them. None where they name two.
    pub fn by_certificate(&self, names: &[String]) -> Option<&(Arc<RegisteredClient>, CertificateName)> {
        let mut named = names.iter().filter_map(|name| self.by_certificate.get(name));
        let known = named.next()?;
        named.all(|(other, _)| Arc::ptr_eq(other, &known.0)).then_some(known)
    }

    /// The client that a service account is.
    pub fn by_service_account(&self, account: &ServiceAccount) -> Option<&Arc<RegisteredClient>> {
        self.by_service_account.get(account)
    }
}
