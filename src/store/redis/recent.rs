//! The latest entries that this process has committed or been told of, a bounded number of each partition:
//! what a failover can take out of the log. Knows no connection, and not how they are put back.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layout::{Linked, PARTITIONS};
use crate::domain::revocation::{Owner, Position, RevocationEntry};
use crate::domain::time::Timestamp;

/// Of each partition. A replica that takes over lacks seconds; this is more than the busiest revoke in
/// that time, and 30 MB at most in all.
const REMEMBERED: usize = 512;

/// Before a log is read: what is known by then has to be found in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

#[derive(Debug)]
struct Known {
    mark: u64,
    owner: Owner,
    entry: RevocationEntry,
}

#[derive(Debug, Default)]
struct Partition {
    known: VecDeque<Known>,
    /// The furthest head that a commit was answered with, and when that was known. Its committer may be
    /// the only one who ever heard of it.
    answered: Option<(u64, Position)>,
}

#[derive(Debug)]
pub(super) struct Recent {
    partitions: Box<[Mutex<Partition>]>,
    next_mark: AtomicU64,
}

impl Recent {
    pub(super) fn new() -> Self {
        let partitions = (0..PARTITIONS).map(|_| Mutex::default()).collect();
        Self { partitions, next_mark: AtomicU64::new(0) }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.next_mark.load(Ordering::SeqCst))
    }

    /// One more, that is in the log; one that nobody owns could not be put back.
    pub(super) fn add(&self, partition: u16, owner: Option<Owner>, entry: &RevocationEntry) {
        let (Some(mut partition), Some(owner)) = (self.of(partition), owner) else { return };
        if !partition.known.iter().any(|known| known.entry == *entry) {
            self.push(&mut partition.known, owner, entry);
        }
    }

    /// A commit was answered: the log had got to `head`.
    pub(super) fn answered(&self, head: Position) {
        let Some(mut partition) = self.of(head.partition) else { return };
        if partition.answered.is_none_or(|(_, answered)| answered.number < head.number) {
            partition.answered = Some((self.next_mark.fetch_add(1, Ordering::SeqCst), head));
        }
    }

    /// How far commits say that each partition had got, in their order.
    pub(super) fn answers(&self) -> Vec<Option<Position>> {
        (0..PARTITIONS).map(|partition| self.answer(partition)).collect()
    }

    /// How far commits say that a partition had got.
    pub(super) fn answer(&self, partition: u16) -> Option<Position> {
        self.of(partition)?.answered.map(|(_, answered)| answered)
    }

    /// Takes in a partition's log that was read after `mark`, and tells what it lacks that was known
    /// before and was not over when the log was last `confirmed` to be whole. Not by now: during a long
    /// outage access tokens expire, and the entry that ended them with a session that lives longer.
    pub(super) fn compare(
        &self,
        mark: Mark,
        partition: u16,
        log: &[Linked],
        confirmed: Timestamp,
    ) -> Vec<(Owner, RevocationEntry)> {
        let Some(mut partition) = self.of(partition) else { return Vec::new() };
        let Partition { known, answered } = &mut *partition;
        // Found by now, or told as lost.
        *answered = answered.filter(|(known, _)| *known >= mark.0);
        if !known.is_empty() {
            let there: HashSet<_> = log.iter().map(|linked| &linked.entry).collect();
            known.retain(|known| confirmed < known.entry.until && !there.contains(&known.entry));
        }
        let lost = known.iter().filter(|known| known.mark < mark.0);
        let lost = lost.map(|known| (known.owner.clone(), known.entry.clone())).collect();
        let mut latest: Vec<_> = log.iter().collect();
        latest.sort_unstable_by_key(|linked| linked.position.number);
        for linked in &latest[latest.len().saturating_sub(REMEMBERED)..] {
            if let Some(owner) = linked.owner.clone() {
                self.push(known, owner, &linked.entry);
            }
        }
        lost
    }

    fn push(&self, known: &mut VecDeque<Known>, owner: Owner, entry: &RevocationEntry) {
        if known.len() == REMEMBERED {
            known.pop_front();
        }
        let mark = self.next_mark.fetch_add(1, Ordering::SeqCst);
        known.push_back(Known { mark, owner, entry: entry.clone() });
    }

    fn of(&self, partition: u16) -> Option<MutexGuard<'_, Partition>> {
        // A panic leaves nothing half done.
        self.partitions
            .get(usize::from(partition))
            .map(|partition| partition.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RealmName;
    use crate::domain::revocation::RevocationScope;

    const NOW: Timestamp = Timestamp::from_seconds(100);

    fn owner() -> Option<Owner> {
        Some(Owner { realm: RealmName::parse("web").expect("a realm"), subject: None })
    }

    fn entry(number: u16, until: i64) -> RevocationEntry {
        let mut random = [0; 16];
        random[..2].copy_from_slice(&number.to_be_bytes());
        RevocationEntry { scope: RevocationScope::Token(random), until: Timestamp::from_seconds(until) }
    }

    fn linked(number: u16) -> Linked {
        let position = |number| Position { partition: 7, number: u64::from(number), tag: 1 };
        let (position, previous) = (position(number), position(number - 1));
        Linked { position, previous, owner: owner(), entry: entry(number, 200) }
    }

    fn lost(recent: &Recent, log: &[Linked]) -> Vec<RevocationEntry> {
        recent.compare(recent.mark(), 7, log, NOW).into_iter().map(|(_, entry)| entry).collect()
    }

    #[test]
    fn what_the_log_lacks_is_told_until_it_is_there_or_over() {
        let recent = Recent::new();
        assert_eq!(lost(&recent, &[linked(1), linked(2)]), []);
        let before = recent.mark();
        recent.add(7, owner(), &entry(3, 200));
        recent.add(7, owner(), &entry(4, 100));
        recent.add(7, None, &entry(5, 200));
        assert_eq!(recent.compare(before, 7, &[linked(1), linked(2)], NOW), [], "a log that was read earlier");
        assert_eq!(lost(&recent, &[linked(1)]), [entry(3, 200), entry(2, 200)]);
        assert_eq!(lost(&recent, &[linked(1), linked(2)]), [entry(3, 200)]);
        assert_eq!(recent.compare(recent.mark(), 6, &[], NOW), []);
        assert_eq!(recent.compare(recent.mark(), 7, &[], Timestamp::from_seconds(200)), []);
    }

    #[test]
    fn the_furthest_answer_stands_until_the_log_was_read_after_it() {
        let recent = Recent::new();
        let before = recent.mark();
        let at = |number| Position { partition: 7, number, tag: 1 };
        for number in [4, 5, 3] {
            recent.answered(at(number));
        }
        recent.compare(before, 7, &[], NOW);
        assert_eq!(recent.answer(7), Some(at(5)), "a log that was read earlier");
        assert_eq!((recent.answers()[7], recent.answers()[6]), (Some(at(5)), None));
        recent.compare(recent.mark(), 7, &[], NOW);
        assert_eq!(recent.answer(7), None);
    }

    #[test]
    fn only_the_latest_are_remembered_and_each_once() {
        let recent = Recent::new();
        let log: Vec<_> = (1..=600).rev().map(linked).collect();
        lost(&recent, &log);
        for _ in 0..2 {
            recent.add(7, owner(), &entry(601, 200));
        }
        let lost = lost(&recent, &[]);
        assert_eq!((lost.len(), &lost[0], &lost[511]), (512, &entry(90, 200), &entry(601, 200)));
    }
}
