//! A refresh token in the kernel's keyring of its user (keyrings(7), Linux): in no file, and gone after a reboot
//! or some days without use.

use std::io;

use linux_keyutils::{Key, KeyError, KeyRing, KeyRingIdentifier};
use zeroize::Zeroizing;

use super::token_storage::TokenStorage;

/// Under a name in the persistent keyring of this process's user: each of the user's processes finds it there,
/// and a container mostly has none (its runtime refuses the system calls).
#[derive(Debug)]
pub struct KeyringStorage(String);

impl KeyringStorage {
    /// Under a name of the service's own, such as `orders/authority`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    fn key(&self) -> io::Result<Option<Key>> {
        match ring()?.search(&self.0) {
            Ok(key) => Ok(Some(key)),
            Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Linked to the session's, since a process may read only what it has by a link.
fn ring() -> io::Result<KeyRing> {
    KeyRing::get_persistent(KeyRingIdentifier::Session).map_err(io::Error::other)
}

impl TokenStorage for KeyringStorage {
    fn load(&self) -> io::Result<Option<Zeroizing<String>>> {
        let Some(key) = self.key()? else { return Ok(None) };
        let token = String::from_utf8(key.read_to_vec().map_err(io::Error::other)?);
        Ok(Some(Zeroizing::new(token.map_err(io::Error::other)?)))
    }

    fn save(&self, refresh_token: &str) -> io::Result<()> {
        ring()?.add_key(&self.0, refresh_token).map(drop).map_err(io::Error::other)
    }

    fn clear(&self) -> io::Result<()> {
        match self.key()? {
            Some(key) => key.invalidate().map_err(io::Error::other),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::token_storage::tests::keeps_the_last;
    use super::*;

    #[test]
    fn the_keyring_keeps_the_last_token() {
        keeps_the_last(&KeyringStorage::new(format!("token-authority-test/{}", std::process::id())));
    }
}
