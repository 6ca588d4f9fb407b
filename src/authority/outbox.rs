//! One-time codes that were made and are still to be delivered: a queue for each realm, each with its own
//! bound, so that one whose codes don't get through keeps no other waiting.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use zeroize::Zeroizing;

use crate::domain::ids::{ClientId, RealmName};
use crate::domain::one_time_code::{CodeDelivery, Recipient};
use crate::domain::time::Timestamp;

use super::{Authority, Error};

/// Codes of a realm that are not delivered yet.
const PLACES: usize = 1_024;

/// A code on its way.
pub struct CodeMessage {
    /// Random: a message that is sent again has the same.
    pub id: [u8; 16],
    /// Whose code it is.
    pub realm: RealmName,
    /// How it is sent.
    pub delivery: CodeDelivery,
    /// To whom.
    pub recipient: Recipient,
    /// The code.
    pub code: Zeroizing<String>,
    /// Who asked for it.
    pub client: Option<ClientId>,
    /// When it was made.
    pub made: Timestamp,
    /// Until when it is worth sending.
    pub expires: Timestamp,
}

/// A secret for a phone number.
impl fmt::Debug for CodeMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeMessage(..)")
    }
}

/// A message in its place.
#[derive(Debug)]
pub struct Placed {
    /// What is to be delivered.
    pub message: CodeMessage,
    /// Taken until it is dropped.
    pub place: OwnedSemaphorePermit,
}

/// The messages of one realm, in the order in which their codes were made.
pub type CodeQueue = mpsc::UnboundedReceiver<Placed>;

/// The queues of all realms.
#[derive(Debug)]
pub(super) struct Outbox {
    queues: Mutex<HashMap<RealmName, Queue>>,
    opened: mpsc::UnboundedSender<CodeQueue>,
    unserved: tokio::sync::Mutex<mpsc::UnboundedReceiver<CodeQueue>>,
}

#[derive(Debug, Clone)]
struct Queue {
    places: Arc<Semaphore>,
    messages: mpsc::UnboundedSender<Placed>,
}

/// A place for one message of a realm, still empty.
#[derive(Debug)]
pub(super) struct Reserved {
    place: OwnedSemaphorePermit,
    messages: mpsc::UnboundedSender<Placed>,
}

impl Reserved {
    /// Hands a message over.
    pub(super) fn send(self, message: CodeMessage) {
        // Who delivers goes before the authority only when both stop.
        let _ = self.messages.send(Placed { message, place: self.place });
    }
}

impl Default for Outbox {
    fn default() -> Self {
        let (opened, unserved) = mpsc::unbounded_channel();
        Self { queues: Mutex::default(), opened, unserved: unserved.into() }
    }
}

impl Outbox {
    /// A place for a code of a realm, unless too many of its codes wait.
    pub(super) fn place(&self, realm: &RealmName) -> Result<Reserved, Error> {
        let Queue { places, messages } = self.queue(realm);
        let place = places.try_acquire_owned().map_err(|_| Error::Overloaded)?;
        Ok(Reserved { place, messages })
    }

    fn queue(&self, realm: &RealmName) -> Queue {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let open = || {
            let (messages, queue) = mpsc::unbounded_channel();
            let _ = self.opened.send(queue);
            Queue { places: Arc::new(Semaphore::new(PLACES)), messages }
        };
        queues.entry(realm.clone()).or_insert_with(open).clone()
    }

    /// How many codes of each realm are not delivered yet.
    fn undelivered(&self) -> Vec<(RealmName, usize)> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.iter().map(|(realm, queue)| (realm.clone(), PLACES - queue.places.available_permits())).collect()
    }
}

impl Authority {
    /// The codes of the next realm that has some to deliver, each realm once. `None` never comes while the
    /// authority lives.
    pub async fn next_code_queue(&self) -> Option<CodeQueue> {
        self.outbox.unserved.lock().await.recv().await
    }

    /// How many codes are not delivered yet, of each realm that ever had some.
    pub fn undelivered_codes(&self) -> Vec<(RealmName, usize)> {
        self.outbox.undelivered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(realm: &RealmName) -> CodeMessage {
        CodeMessage {
            id: [0; 16],
            realm: realm.clone(),
            delivery: CodeDelivery::Log,
            recipient: Recipient::parse("+49170").expect("a recipient"),
            code: "123456".to_owned().into(),
            client: None,
            made: Timestamp::ZERO,
            expires: Timestamp::ZERO,
        }
    }

    #[test]
    fn a_realm_has_so_many_places_until_its_codes_are_delivered_and_takes_none_of_others() {
        let [one, other] = ["one", "other"].map(|name| RealmName::parse(name).expect("a name"));
        let outbox = Outbox::default();
        for _ in 0..PLACES {
            outbox.place(&one).expect("a place").send(message(&one));
        }
        assert!(matches!(outbox.place(&one), Err(Error::Overloaded)));
        outbox.place(&other).expect("a place of its own").send(message(&other));

        let mut opened = outbox.unserved.try_lock().expect("free");
        let (mut first, mut second) = (opened.try_recv().expect("a queue"), opened.try_recv().expect("a queue"));
        assert!(opened.try_recv().is_err(), "each once");
        assert_eq!(second.try_recv().expect("a message").message.realm, other);
        let undelivered: HashMap<_, _> = outbox.undelivered().into_iter().collect();
        assert_eq!(undelivered, [(one.clone(), PLACES), (other, 0)].into());
        let placed = first.try_recv().expect("a message");
        assert!(outbox.place(&one).is_err(), "it is still to be delivered");
        drop(placed);
        outbox.place(&one).expect("a place that is free again");
    }
}
