//! The latest additions to the log, and where each watcher stands among them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::domain::revocation::{Position, Revision, RevocationEntry};

/// Additions that are kept for watchers who lag, and for those who come back: some 5 MB.
pub(super) const KEPT: usize = 65_536;
/// Entries of one message, and what is held for a watcher that does not read: some 70 kB.
pub(super) const CHUNK: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Additions {
    pub(super) kept: VecDeque<(Position, RevocationEntry)>,
    /// How many were dropped before those: the number of the first that is kept.
    dropped: u64,
    /// How far each partition had been read before the first that is kept.
    before: HashMap<u16, Position>,
    /// How far each has been read. Not the index's word, which may be ahead of what watchers can be sent.
    heads: HashMap<u16, Position>,
}

/// Where a watcher stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    /// The next addition.
    next: u64,
    /// Of additions below this number, in each partition, it has been sent all.
    has: HashMap<u16, u64>,
}

impl Cursor {
    /// Before an addition.
    pub(super) fn at(next: u64) -> Self {
        Self { next, has: HashMap::new() }
    }

    /// Whoever stands here has all additions below this number.
    pub(super) fn through(&self) -> u64 {
        self.next
    }
}

/// What came after a cursor.
pub(super) struct News {
    pub(super) entries: Vec<RevocationEntry>,
    pub(super) cursor: Cursor,
    /// What the watcher holds with these; `None` if there is more.
    pub(super) revision: Option<Revision>,
}

impl Additions {
    pub(super) fn push(&mut self, position: Position, entry: &RevocationEntry) {
        if self.kept.len() == KEPT
            && let Some((dropped, _)) = self.kept.pop_front()
        {
            self.before.insert(dropped.partition, dropped);
            self.dropped += 1;
        }
        self.kept.push_back((position, entry.clone()));
        self.heads.insert(position.partition, position);
    }

    /// The first reading of a partition is what watchers get from the index. A later one may hold what
    /// was never published, so all of it is new to them.
    pub(super) fn read_anew(&mut self, head: Position, entries: &[RevocationEntry]) {
        if let Entry::Vacant(first) = self.before.entry(head.partition) {
            first.insert(head);
        } else {
            entries.iter().for_each(|entry| self.push(head, entry));
        }
        self.heads.insert(head.partition, head);
    }

    pub(super) fn end(&self) -> u64 {
        self.dropped + self.kept.len() as u64
    }

    pub(super) fn revision(&self) -> Revision {
        self.heads.values().copied().collect()
    }

    /// Whoever has all additions below this number has what the revision covers. `None` until the log has
    /// been read so far. Errs to a later addition, never to an earlier one.
    pub(super) fn through(&self, revision: &Revision) -> Option<u64> {
        let read = |wanted: &Position| {
            let head = self.heads.get(&wanted.partition);
            head.is_some_and(|head| head.number > wanted.number || head == wanted)
        };
        if !revision.positions().iter().all(read) {
            return None;
        }
        let kept =
            |wanted: &&Position| self.before.get(&wanted.partition).is_none_or(|before| before.number < wanted.number);
        let wanted = revision.positions().iter().filter(kept);
        let wanted: HashMap<_, _> = wanted.map(|wanted| (wanted.partition, wanted)).collect();
        // Where a partition was read anew, its entries stand at the head then: at the wanted number or the next.
        let mut reached: HashMap<u16, Position> = HashMap::new();
        let mut through = self.dropped;
        for (number, (position, _)) in (self.dropped..).zip(&self.kept) {
            let Some(wanted) = wanted.get(&position.partition) else { continue };
            let known = reached.get(&position.partition);
            let beyond = known.is_some_and(|known| known.number >= wanted.number && known != position);
            if !beyond {
                reached.insert(position.partition, *position);
                through = number + 1;
            }
        }
        Some(through)
    }

    /// A chunk of what came after a cursor; `None` if some is no longer here.
    pub(super) fn news(&self, mut cursor: Cursor) -> Option<News> {
        let skip = usize::try_from(cursor.next.checked_sub(self.dropped)?).ok()?;
        let mut entries = Vec::new();
        for (position, entry) in self.kept.iter().skip(skip).take(CHUNK) {
            if cursor.has.get(&position.partition).is_none_or(|has| cursor.next >= *has) {
                entries.push(entry.clone());
            }
            cursor.next += 1;
        }
        let revision = (cursor.next == self.end()).then(|| self.revision());
        Some(News { entries, cursor, revision })
    }

    /// Where the additions after a revision begin. Only places that were passed here count, by number and
    /// tag: after a failover a number says nothing.
    pub(super) fn after(&self, revision: &Revision) -> Option<Cursor> {
        let held: HashMap<_, _> = revision.positions().iter().map(|position| (position.partition, position)).collect();
        if held.is_empty() || held.len() != self.before.len() {
            return None;
        }
        let at_start = held.iter().filter(|(partition, position)| self.before.get(partition) == Some(position));
        let mut has: HashMap<_, _> = at_start.map(|(partition, _)| (*partition, self.dropped)).collect();
        for (number, (position, _)) in (self.dropped..).zip(&self.kept) {
            if held.get(&position.partition) == Some(&position) {
                has.insert(position.partition, number + 1);
            }
        }
        let next = has.values().copied().min()?;
        (has.len() == held.len()).then_some(Cursor { next, has })
    }
}
