//! Realms are defined anew while they serve. A call that is under way finishes by what it began with; the
//! next one goes by the new definition, and so does each later step of the realm's keys.

use std::sync::Arc;

use crate::domain::ids::RealmName;
use crate::domain::policy::RealmPolicy;

use super::clients::Clients;
use super::{Authority, Error, Realm};

/// What an operator says of a realm.
#[derive(Debug, Clone)]
pub struct RealmDefinition {
    /// What it allows.
    pub policy: RealmPolicy,
    /// Who may call, and for what.
    pub clients: Arc<Clients>,
    /// The `iss` of the tokens that it issues.
    pub issuer: Arc<str>,
}

impl RealmDefinition {
    /// Whether it says what the realm is already.
    pub(super) fn is_of(&self, realm: &Realm) -> bool {
        self.policy == realm.policy && self.clients == realm.clients && self.issuer == realm.issuer
    }
}

impl Authority {
    /// Puts all of these into service, or none if one can't be; those that are new or say something new.
    /// Realms that are not among them stay as they are.
    pub async fn redefine_realms(&self, definitions: Vec<RealmDefinition>) -> Result<Vec<RealmName>, Error> {
        self.realms.redefine(definitions).await
    }
}
