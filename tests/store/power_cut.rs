//! The power goes at every single write and sync, and what was acknowledged is there afterwards.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use token_authority::authority::ports::{Commit, Outcome, RecordKey, Store as _, StoreError, Version};
use token_authority::domain::ids::SubjectKey;
use token_authority::domain::revocation::RevocationEntry;
use token_authority::store::embedded::{EmbeddedStore, Limits, OpenError};

use super::disk::{Disk, Fault, Survival};
use super::fixtures::{Follower, NOON, SeededEntropy, TurnedClock, commit, realm, revoking};

const CHAINS: u8 = 4;
const ROUNDS: usize = 6;

/// What a caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Committed,
    Nothing,
    Unknown,
}

/// The commits to one record, each on top of the one before, and what became of them.
struct Chain {
    key: RecordKey,
    steps: Vec<(Commit, Told)>,
}

struct Run {
    chains: Vec<Chain>,
}

fn open(disk: &Disk, clock: &Arc<TurnedClock>) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open_with(disk.clone(), &Limits::default(), clock.clone(), SeededEntropy::named("power cut"))
}

/// A store in which nothing has happened: it is put in place whole, so no cut falls into its making.
fn new_store() -> Vec<u8> {
    let disk = Disk::holding(Vec::new(), Fault::Never);
    drop(open(&disk, &TurnedClock::at(NOON)).expect("a new store"));
    disk.after_cut(Survival::Nothing)
}

async fn tell(store: &EmbeddedStore, commit: &Commit) -> Told {
    match store.commit(commit).await {
        Ok(Outcome::Committed(_)) => Told::Committed,
        Err(StoreError::Unavailable(_)) => Told::Nothing,
        Err(StoreError::OutcomeUnknown(_)) => Told::Unknown,
        other => panic!("{other:?}"),
    }
}

/// Groups of commits, small and large, with expired garbage between them, until the power goes.
async fn work(disk: &Disk) -> Run {
    let key = |number| RecordKey::subject(realm("web"), SubjectKey([number; 16]));
    let mut run = Run { chains: (0..CHAINS).map(|number| Chain { key: key(number), steps: Vec::new() }).collect() };
    let clock = TurnedClock::at(NOON);
    let Ok(store) = open(disk, &clock) else { return run };
    for round in 0..ROUNDS {
        let group: Vec<_> = run
            .chains
            .iter()
            .map(|chain| {
                let expected = chain.steps.last().map(|(commit, _)| commit.id);
                let size = if chain.key == key(0) { 20_000 } else { 300 };
                revoking(&chain.key, expected, &vec![0x5a; size + round])
            })
            .collect();
        // The first alone, the others together.
        let mut told = vec![tell(&store, &group[0]).await];
        told.extend(join_all(group[1..].iter().map(|commit| tell(&store, commit))).await);
        for (chain, step) in run.chains.iter_mut().zip(group.into_iter().zip(told)) {
            chain.steps.push(step);
        }
        let mut garbage = commit(&key(100), None, b"short-lived");
        garbage.expires = Some(NOON + Duration::from_secs(1 + 120 * round as u64));
        let alive = tell(&store, &garbage).await == Told::Committed;
        clock.pass(Duration::from_secs(120));
        if !alive || run.chains.iter().any(|chain| chain.steps.last().is_some_and(|(_, told)| *told != Told::Committed))
        {
            assert!(store.ready().await.is_err(), "a store that failed says so");
            assert!(store.load(&key(0)).await.is_err());
            assert!(store.follow().await.is_err());
            break;
        }
    }
    run
}

impl Run {
    /// Opens what is left, and says what is wrong with it.
    async fn check(&self, bytes: Vec<u8>) -> Result<(), String> {
        let disk = Disk::holding(bytes, Fault::Never);
        let clock = TurnedClock::at(NOON);
        let store = open(&disk, &clock).map_err(|error| error.to_string())?;
        let known = Follower::of(&store).await.known;
        for chain in &self.chains {
            let stored = store.load(&chain.key).await.map_err(|error| error.to_string())?;
            chain.check(stored.map(|stored| stored.version), &known)?;
        }
        // And it works on.
        let key = RecordKey::subject(realm("web"), SubjectKey([200; 16]));
        match tell(&store, &revoking(&key, None, b"after")).await {
            Told::Committed => Ok(()),
            told => Err(format!("after the cut: {told:?}")),
        }
    }
}

impl Chain {
    fn check(&self, version: Option<Version>, known: &HashSet<RevocationEntry>) -> Result<(), String> {
        let stands = match version {
            None => 0,
            Some(version) => {
                1 + self.steps.iter().position(|(commit, _)| commit.id == version).ok_or("a version of nobody")?
            }
        };
        for (index, (commit, told)) in self.steps.iter().enumerate() {
            let there = index < stands;
            if there != known.contains(&commit.revocations[0]) {
                return Err(format!("{:?}, step {index}: record and entry disagree ({there})", self.key));
            }
            match (told, there) {
                (Told::Committed, false) => return Err(format!("{:?}, step {index}: acknowledged, lost", self.key)),
                (Told::Nothing, true) => return Err(format!("{:?}, step {index}: refused, written", self.key)),
                _ => {}
            }
        }
        Ok(())
    }
}

async fn operations_in_all() -> usize {
    let disk = Disk::holding(new_store(), Fault::Never);
    let run = work(&disk).await;
    assert!(run.chains.iter().all(|chain| chain.steps.len() == ROUNDS));
    assert!(run.chains.iter().flat_map(|chain| &chain.steps).all(|(_, told)| *told == Told::Committed));
    disk.operations()
}

const SURVIVALS: [Survival; 5] =
    [Survival::Nothing, Survival::Everything, Survival::Sectors(1), Survival::Sectors(2), Survival::Sectors(3)];

#[tokio::test]
async fn a_cut_at_any_operation_loses_nothing_acknowledged_and_halves_nothing() {
    let operations = operations_in_all().await;
    assert!(operations > 100, "{operations} operations are no workload");
    for cut in 0..operations {
        let disk = Disk::holding(new_store(), Fault::CutAt(cut));
        let run = work(&disk).await;
        for survival in SURVIVALS {
            let verdict = run.check(disk.after_cut(survival)).await;
            assert_eq!(verdict, Ok(()), "cut at {cut} of {operations}, {survival:?}");
        }
    }
}

#[tokio::test]
async fn a_second_cut_while_the_first_is_repaired_loses_nothing_either() {
    let operations = operations_in_all().await;
    for cut in (0..operations).step_by(11) {
        let disk = Disk::holding(new_store(), Fault::CutAt(cut));
        let run = work(&disk).await;
        for second in 0.. {
            let repaired = Disk::holding(disk.after_cut(Survival::Sectors(4)), Fault::CutAt(second));
            let clock = TurnedClock::at(NOON);
            drop(open(&repaired, &clock));
            for survival in SURVIVALS {
                let verdict = run.check(repaired.after_cut(survival)).await;
                assert_eq!(verdict, Ok(()), "cut at {cut}, then at {second}, {survival:?}");
            }
            if repaired.operations() <= second {
                break;
            }
        }
    }
}

#[tokio::test]
async fn one_failed_operation_stops_the_store_and_loses_nothing() {
    let operations = operations_in_all().await;
    for failure in 0..operations {
        let disk = Disk::holding(new_store(), Fault::FailAt(failure));
        let run = work(&disk).await;
        for survival in [Survival::Nothing, Survival::Everything] {
            let verdict = run.check(disk.after_cut(survival)).await;
            assert_eq!(verdict, Ok(()), "failure of {failure} of {operations}, {survival:?}");
        }
    }
}

/// The check itself is checked: on a disk that only claims to sync, it must find losses.
#[tokio::test]
async fn a_disk_that_does_not_sync_is_found_out() {
    let operations = operations_in_all().await;
    let mut losses = 0;
    for cut in (0..operations).step_by(5) {
        let disk = Disk::lying(new_store(), Fault::CutAt(cut));
        let run = work(&disk).await;
        let acknowledged = run.chains.iter().any(|chain| chain.steps.iter().any(|(_, told)| *told == Told::Committed));
        let verdict = run.check(disk.after_cut(Survival::Nothing)).await;
        assert_eq!(verdict.is_err(), acknowledged, "cut at {cut}: {verdict:?}");
        losses += usize::from(verdict.is_err());
    }
    assert!(losses > 10, "{losses} losses found");
}
