//! Who follows the feed and says what it has applied, and who of them lags. Knows neither entries nor
//! transport.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::ids::{RealmName, SubscriberName};

/// Longer than what is no entry of the subscriber's realm waits for the next heartbeat's receipt.
const LAGS_AFTER: Duration = Duration::from_secs(3);

/// How many of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Subscribers that have acknowledged a revocation.
    pub enforced: usize,
    /// All of them.
    pub subscribers: usize,
}

impl Tally {
    /// Whether nobody is left to wait for.
    pub(in crate::authority) fn is_whole(self) -> bool {
        self.enforced >= self.subscribers
    }
}

/// A subscriber that has not acknowledged what came some time ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lagging {
    /// As it calls itself.
    pub name: SubscriberName,
    /// What it follows.
    pub realm: RealmName,
    /// Since when it owes a receipt.
    pub lag: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Subscribers {
    seats: Mutex<Seats>,
    /// Somebody came, went, or acknowledged.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Seat>,
}

#[derive(Debug)]
struct Seat {
    name: SubscriberName,
    realm: RealmName,
    /// All additions below; `None` before the snapshot.
    applied: Option<u64>,
    /// Additions below this are to be acknowledged, since then.
    owes: Option<(u64, Instant)>,
}

impl Seat {
    fn lag(&self, now: Instant) -> Option<Duration> {
        let (through, since) = self.owes?;
        let lag = now.saturating_duration_since(since);
        (self.applied < Some(through) && lag >= LAGS_AFTER).then_some(lag)
    }
}

impl Subscribers {
    pub(super) fn enter(&self, name: SubscriberName, realm: RealmName, applied: Option<u64>) -> u64 {
        let owes = applied.is_none().then(|| (0, Instant::now()));
        let mut seats = self.lock();
        seats.next += 1;
        let number = seats.next;
        seats.taken.insert(number, Seat { name, realm, applied, owes });
        drop(seats);
        self.changed.send_replace(());
        number
    }

    pub(super) fn leave(&self, number: u64) {
        self.lock().taken.remove(&number);
        self.changed.send_replace(());
    }

    pub(super) fn applied(&self, number: u64, through: u64) {
        if let Some(seat) = self.lock().taken.get_mut(&number) {
            seat.applied = seat.applied.max(Some(through));
        }
        self.changed.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Of a realm's, who has applied all additions below a number; nobody, if it is not known yet.
    pub(super) fn tally(&self, realm: &RealmName, through: Option<u64>) -> Tally {
        let mut tally = Tally::default();
        for seat in self.lock().taken.values().filter(|seat| seat.realm == *realm) {
            tally.subscribers += 1;
            tally.enforced += usize::from(through.is_some() && seat.applied >= through);
        }
        tally
    }

    pub(super) fn of_realms(&self) -> BTreeMap<RealmName, usize> {
        let mut counts = BTreeMap::new();
        for seat in self.lock().taken.values() {
            *counts.entry(seat.realm.clone()).or_default() += 1;
        }
        counts
    }

    /// Notes who owes receipts for what has come so far. Lag counts from the first look that finds it.
    pub(super) fn look(&self, end: u64) {
        let now = Instant::now();
        for seat in self.lock().taken.values_mut() {
            if seat.owes.is_none_or(|(through, _)| seat.applied >= Some(through)) {
                seat.owes = (seat.applied < Some(end)).then_some((end, now));
            }
        }
    }

    /// The worst first.
    pub(super) fn lagging(&self) -> Vec<Lagging> {
        let now = Instant::now();
        let lagging = |seat: &Seat| {
            let lag = seat.lag(now)?;
            Some(Lagging { name: seat.name.clone(), realm: seat.realm.clone(), lag })
        };
        let mut found: Vec<_> = self.lock().taken.values().filter_map(lagging).collect();
        found.sort_by(|one, other| other.lag.cmp(&one.lag).then_with(|| one.name.cmp(&other.name)));
        found
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
