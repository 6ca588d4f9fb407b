//! The key-encryption keys that the configuration names, and their exchange. Two open a store at a time,
//! so that no server has to stop for it.

use std::sync::Arc;

use tracing::{info, warn};

use crate::authority::ports::Entropy;
use crate::config::{Config, CreateKey, StoreUrl};
use crate::store::key_encryption_key::{Created, KeyEncryptionKey};
use crate::store::vault;
use crate::system::{SystemClock, SystemEntropy};

use super::StartError;
use super::store::OpenStore;

/// Seals the store with the configured key instead of the previous one; whether there was anything to
/// do. Servers that run meanwhile notice nothing: what they opened stays open.
pub async fn rewrap(config: &Config) -> Result<bool, StartError> {
    // The store would be made.
    if let StoreUrl::Embedded(directory) = &config.store
        && !directory.is_dir()
    {
        return Err(StartError::NoStore(directory.clone()));
    }
    if config.previous_encryption_key_file.is_none() {
        return Err(StartError::NoPreviousKey);
    }
    let entropy = SystemEntropy;
    let opened =
        OpenStore::open(&config.store, config.store_safety, Arc::new(SystemClock::default()), Arc::new(entropy))
            .await?;
    let done = match keys(config, &opened, &entropy).await {
        Ok(keys) => rewrap_with(&opened, &keys, &entropy).await,
        Err(error) => Err(error),
    };
    opened.close().await;
    done
}

/// The same with a store that is open.
pub(super) async fn rewrap_with(
    opened: &OpenStore,
    keys: &[KeyEncryptionKey],
    entropy: &dyn Entropy,
) -> Result<bool, StartError> {
    let done = vault::rewrap(&*opened.store(), keys, entropy).await?;
    if let (true, Some(key)) = (done, keys.first()) {
        info!(key = %key.id(), "the store is sealed with another key-encryption key: the one before opens it no more");
    }
    Ok(done)
}

/// The key that seals, and the one before if there is any.
pub(super) async fn keys(
    config: &Config,
    opened: &OpenStore,
    entropy: &dyn Entropy,
) -> Result<Vec<KeyEncryptionKey>, StartError> {
    let mut keys = vec![current(config, opened, entropy).await?];
    if let Some(file) = &config.previous_encryption_key_file {
        keys.push(KeyEncryptionKey::load(file)?);
    }
    Ok(keys)
}

/// From the named file, or from the store's own, which is made with the store.
async fn current(config: &Config, opened: &OpenStore, entropy: &dyn Entropy) -> Result<KeyEncryptionKey, StartError> {
    let file = match (&config.encryption_key_file, config.create_key) {
        (Some(file), CreateKey::Never) => return Ok(KeyEncryptionKey::load(file)?),
        (Some(file), CreateKey::IfMissing) => file.clone(),
        (None, _) => {
            let own = opened.own_key_file();
            own.ok_or_else(|| StartError::NoKeyFile(config.store.to_string()))?
        }
    };
    let (key, created) = vault::key_for(&*opened.store(), &file, entropy).await?;
    if created == Created::New {
        warn!(
            file = %file.display(),
            "made a new key-encryption key: back it up apart from the store, which is worthless without it"
        );
    }
    Ok(key)
}
