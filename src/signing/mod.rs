//! Turns access tokens into signed JWTs, with keys that are parsed once and held here. Knows no store:
//! which key signs, and whether the step that the token belongs to was committed, is decided elsewhere.

pub mod code_key;
pub mod import;
mod jwt;
pub mod key;
pub mod pepper;
mod pool;
pub mod refresh_token;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::domain::ids::{KeyNumber, RealmName};
use crate::domain::token::AccessToken;
use key::SigningKey;
use pool::Pool;

/// RSA signatures that may wait for each pool, about 50 ms on two cores; beyond it answers would
/// come too late to be of use.
const QUEUE: usize = 256;

/// Why there is no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The realm has no key of that number here.
    #[error("no such signing key")]
    NoSuchKey,
    /// More signatures are asked for than the cores can make: try again.
    #[error("too many signatures are waiting")]
    Overloaded,
    /// The token would be larger than any verifier accepts.
    #[error("the token would be larger than 8 KiB")]
    TooLarge,
    /// The signature could not be made.
    #[error("signing failed")]
    Failed,
}

/// Signs with each realm's keys.
#[derive(Debug)]
pub struct Signer {
    keys: RwLock<HashMap<RealmName, HashMap<KeyNumber, Arc<SigningKey>>>>,
    pool: Pool,
}

impl Signer {
    /// Without keys, and with a thread for RSA on each core. Fails if threads can't be started.
    pub fn new() -> std::io::Result<Self> {
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Ok(Self { keys: RwLock::default(), pool: Pool::new(threads, QUEUE)? })
    }

    /// Holds a key; another one of that number is replaced.
    pub fn install(&self, realm: RealmName, number: KeyNumber, key: Arc<SigningKey>) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.entry(realm).or_default().insert(number, key);
    }

    /// Forgets a key. Signatures that have started come to their end.
    pub fn remove(&self, realm: &RealmName, number: KeyNumber) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_realm) = keys.get_mut(realm) {
            of_realm.remove(&number);
        }
    }

    /// The key of that number.
    pub fn key(&self, realm: &RealmName, number: KeyNumber) -> Option<Arc<SigningKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(realm)?.get(&number).cloned()
    }

    /// How many signatures wait for a thread.
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// The token as a compact JWS.
    pub async fn sign(&self, issuer: &str, token: &AccessToken) -> Result<String, SignError> {
        self.start(issuer, token)?.await
    }

    /// Starts to sign, so that the signature is made while the commit is in flight; refused at once
    /// where it can't be made, so that nothing is committed in vain. Dropping the result, as after a
    /// lost commit, gives up the signature.
    pub fn start(&self, issuer: &str, token: &AccessToken) -> Result<Pending, SignError> {
        let key = self.key(&token.realm, token.key).ok_or(SignError::NoSuchKey)?;
        let unsigned = jwt::signing_input(&key, issuer, token)?;
        self.start_input(key, unsigned)
    }

    /// Starts to sign a JWT of another type, whose claims are complete.
    pub fn start_statement(
        &self,
        realm: &RealmName,
        number: KeyNumber,
        typ: &'static str,
        claims: &Map<String, Value>,
    ) -> Result<Pending, SignError> {
        let key = self.key(realm, number).ok_or(SignError::NoSuchKey)?;
        let unsigned = jwt::statement_input(&key, typ, claims)?;
        self.start_input(key, unsigned)
    }

    fn start_input(&self, key: Arc<SigningKey>, unsigned: String) -> Result<Pending, SignError> {
        if !key.is_slow() {
            return Ok(Pending(State::Ready(Some(jwt::sign(&key, unsigned)))));
        }
        let (sender, receiver) = oneshot::channel();
        self.pool.run(Box::new(move || {
            let signed = (!sender.is_closed()).then(|| jwt::sign(&key, unsigned));
            Box::new(move || {
                let _ = signed.map(|signed| sender.send(signed));
            })
        }))?;
        Ok(Pending(State::InPool(receiver)))
    }
}

/// A signature in the making.
#[must_use = "a signature that nobody awaits is given up"]
pub struct Pending(State);

enum State {
    Ready(Option<Result<String, SignError>>),
    InPool(oneshot::Receiver<Result<String, SignError>>),
}

impl Future for Pending {
    type Output = Result<String, SignError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(result.take().unwrap_or(Err(SignError::Failed))),
            // The pool drops what it can't finish when it stops.
            State::InPool(receiver) => {
                Pin::new(receiver).poll(context).map(|result| result.unwrap_or(Err(SignError::Failed)))
            }
        }
    }
}

/// The signed token is a credential.
impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending(..)")
    }
}

#[cfg(test)]
mod tests;
