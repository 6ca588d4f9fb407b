//! Waiting until those who follow the revocations have acknowledged one. The revocation is committed
//! before and holds whatever comes of the wait.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::domain::revocation::Revision;

use super::revocation_feed::{Question, Tally};
use super::{Authority, Error};

/// Below the deadline of a call, which the commit needs too.
pub(super) const MOST_WAIT: Duration = Duration::from_secs(4);

impl Authority {
    /// How many subscribers of the realm enforce what a revision covers, at all instances: when all do,
    /// or when the wait is over. Those at other instances are the ones that were there at the start.
    pub async fn receipts(&self, realm: &str, revision: &Revision, wait: Duration) -> Result<Tally, Error> {
        let realm = self.realm(realm)?.name().clone();
        let until = Instant::now() + wait.min(MOST_WAIT);
        // Before the question: no answer may come between.
        let mut answers = self.company.answers();
        let (mut grown, mut acknowledged) = self.feed.changes();
        let mut others: HashMap<u64, Tally> = self
            .company
            .subscribers_of(&realm)
            .into_iter()
            .map(|(instance, subscribers)| (instance, Tally { enforced: 0, subscribers }))
            .collect();
        let asked = if others.is_empty() { None } else { Some(self.company.ask(&realm, revision).await) };
        let mut question = Question::new(realm, revision.clone());
        loop {
            let here = self.feed.tally(&mut question);
            if here.is_whole() && others.values().all(|tally| tally.is_whole()) {
                return Ok(sum(here, &others));
            }
            let news = async {
                tokio::select! {
                    _ = grown.changed() => None,
                    _ = acknowledged.changed() => None,
                    answer = answers.recv() => answer.ok(),
                }
            };
            match timeout_at(until, news).await {
                Err(_) => return Ok(sum(here, &others)),
                Ok(Some(answer)) if Some(answer.number) == asked => {
                    others.entry(answer.instance).and_modify(|tally| *tally = answer.tally);
                }
                Ok(_) => {}
            }
        }
    }
}

fn sum(here: Tally, others: &HashMap<u64, Tally>) -> Tally {
    others.values().fold(here, |sum, tally| Tally {
        enforced: sum.enforced + tally.enforced,
        subscribers: sum.subscribers + tally.subscribers,
    })
}
