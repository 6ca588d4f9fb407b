//! A key that was made elsewhere becomes a prepared one. Works on the store itself: a private key is sent
//! to no server.

use std::sync::Arc;

use crate::domain::algorithm::Algorithm;
use crate::domain::ids::RealmName;
use crate::domain::policy::RealmPolicy;
use crate::domain::rotate_keys::KeyRefusal;
use crate::signing::key::SigningKey;

use super::Error;
use super::keys::{KeyView, check_algorithm};
use super::ports::{RecordKey, Store};
pub use super::realm_change::Ports;
use super::realm_change::{Step, change};
use super::realm_record::{PrivateKey, RealmRecord};

/// Adds a private key, in the form in which keys are kept, to one of the realms. Added again it stays
/// as it is.
pub async fn import_key(
    ports: Ports<'_>,
    realms: &[RealmPolicy],
    realm: &RealmName,
    algorithm: Algorithm,
    private: &PrivateKey,
) -> Result<KeyView, Error> {
    let policy = realms.iter().find(|policy| policy.realm == *realm);
    let policy = policy.ok_or_else(|| Error::UnknownRealm(realm.to_string()))?;
    check_algorithm(policy, algorithm)?;
    let kid = SigningKey::from_pkcs8(algorithm, private).map_err(Error::internal)?.kid().clone();
    for other in realms.iter().filter(|other| other.realm != *realm) {
        if record(ports.store, &other.realm).await?.is_some_and(|record| record.number(&kid).is_some()) {
            return Err(Error::Key(KeyRefusal::OfAnotherRealm));
        }
    }
    let imported = change(ports, policy, &Arc::default(), &"".into(), None, |record, now| {
        let number = match record.number(&kid).and_then(|number| record.ring.key(number)) {
            Some(key) if key.revoked.is_some() => return Err(Error::Key(KeyRefusal::Revoked)),
            Some(key) => key.number,
            None => {
                let number = record.ring.prepare(algorithm, None, now)?;
                record.add(number, algorithm, private.clone())?;
                number
            }
        };
        Ok(Step::answer(number))
    })
    .await?;
    let key = imported.realm.ring.key(imported.answer);
    let view = key.and_then(|key| KeyView::of(&imported.realm, key, ports.clock.now()));
    view.ok_or(Error::Key(KeyRefusal::Unknown))
}

async fn record(store: &dyn Store, realm: &RealmName) -> Result<Option<RealmRecord>, Error> {
    let stored = store.load(&RecordKey::realm(realm.clone())).await?;
    stored.map(|stored| RealmRecord::decode(&stored.bytes, None)).transpose()
}
