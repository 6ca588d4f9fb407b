//! What may leave as one script. Knows neither commits nor reads.

use fred::clients::Client;
use fred::error::Error;
use fred::types::config::Options;

use super::address::Topology;
use super::layout::Keys;
use super::script::Script;

/// How many steps leave as one script at most, which holds up whoever else wants something of that Redis. With more,
/// and with fewer, a server made fewer refreshes.
const MOST: usize = 16;

/// What one script may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Together {
    All,
    /// A node of a Cluster runs no script on more than one slot.
    SamePartition,
}

impl Together {
    /// What this Redis takes: one alone may be a node of a Cluster, or hide one.
    pub(super) async fn of(topology: Topology, client: &Client, keys: &Keys) -> Result<Self, Error> {
        if topology == Topology::Cluster {
            return Ok(Self::SamePartition);
        }
        let (heads, options) = ([0, 1].map(|partition| keys.head(partition)), Options::default());
        match Script::read().run(client, &options, &heads, &[]).await {
            Err(error) if error.details().starts_with("CROSSSLOT") => Ok(Self::SamePartition),
            answered => answered.map(|_| Self::All),
        }
    }

    /// What leaves as one script each, in the order in which it waits.
    pub(super) fn scripts<T>(
        self,
        mut waiting: Vec<T>,
        partition: impl Fn(&T) -> u16,
        steps: impl Fn(&T) -> usize,
    ) -> Vec<Vec<T>> {
        let slot = |one: &T| (self == Self::SamePartition).then(|| partition(one));
        waiting.sort_by_key(slot);
        let mut scripts: Vec<Vec<T>> = Vec::new();
        let mut room = 0;
        for one in waiting {
            let steps = steps(&one);
            match scripts.last_mut() {
                Some(script) if steps <= room && slot(&script[0]) == slot(&one) => {
                    script.push(one);
                    room -= steps;
                }
                _ => {
                    scripts.push(vec![one]);
                    room = MOST.saturating_sub(steps);
                }
            }
        }
        scripts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_slot_leave_together_and_in_their_order() {
        let waiting = [(7, 'a'), (3, 'b'), (7, 'c'), (5, 'd'), (3, 'e')];
        let scripts = |together: Together| together.scripts(waiting.to_vec(), |(partition, _)| *partition, |_| 1);
        assert_eq!(scripts(Together::All), [waiting]);
        let apart = [&[(3, 'b'), (3, 'e')][..], &[(5, 'd')], &[(7, 'a'), (7, 'c')]];
        assert_eq!(scripts(Together::SamePartition), apart);
    }

    #[test]
    fn no_script_is_longer_than_redis_may_be_held_up() {
        let lengths = |steps: Vec<usize>| {
            Together::All.scripts(steps, |_| 1, |steps| *steps).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(vec![1; 2 * MOST + 1]), [MOST, MOST, 1]);
        assert_eq!(lengths(vec![1, 2 * MOST, 1, MOST - 1, 1]), [1, 1, 2, 1]);
        assert!(lengths(Vec::new()).is_empty());
    }
}
