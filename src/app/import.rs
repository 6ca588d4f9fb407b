//! A signing key that was made elsewhere, on its way from a file into the store.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::authority::import_key::{Ports, import_key};
use crate::authority::keys::KeyView;
use crate::config::Config;
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::RealmName;
use crate::store::sealing::SealedStore;
use crate::system::{SystemClock, SystemEntropy};

use super::store::OpenStore;
use super::{StartError, seal};

/// Prepares the key in a realm of the configuration. Servers that run meanwhile find it within half a
/// minute.
pub async fn import(
    config: &Config,
    realm: &RealmName,
    algorithm: Algorithm,
    private: Zeroizing<Vec<u8>>,
) -> Result<KeyView, StartError> {
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(SystemEntropy));
    let opened = OpenStore::open(&config.store, config.store_safety, clock.clone(), entropy.clone()).await?;
    let imported = async {
        let keys = seal::keys(config, &opened, &*entropy).await?;
        let clock = opened.clock(clock);
        let store = SealedStore::open(opened.store(), &keys, &*entropy).await?;
        let ports = Ports { store: &store, clock: &*clock, entropy: &*entropy };
        let imported = import_key(ports, &config.realms, realm, algorithm, &private).await;
        imported.map_err(|source| StartError::Realm { realm: realm.to_string(), source })
    };
    let imported = imported.await;
    opened.close().await;
    imported
}
