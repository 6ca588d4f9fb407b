//! The instances on the same store: who is there, with how many subscribers, and what they say of a
//! revocation that is asked about. All of it hearsay, for counts and for operators; nothing depends on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tracing::debug;

use crate::domain::ids::RealmName;
use crate::domain::revocation::Revision;

use super::Authority;
use super::ports::{Entropy, Peers};
use super::receipts::MOST_WAIT;
use super::revocation_feed::{Question, Tally};

/// How often an instance says that it is there.
pub const PRESENT_EVERY: Duration = Duration::from_secs(1);
/// One that was not heard of for so long is gone.
const GONE_AFTER: Duration = Duration::from_millis(3_500);
/// Subscribers that come together are told together, and so are receipts.
const TOGETHER: Duration = Duration::from_millis(5);
/// Questions of others that are being answered.
const QUESTIONS: usize = 1_024;
/// Lagging subscribers of an instance that are named.
pub const NAMED: usize = 16;
/// Answers that one who asks may lag behind.
const HEARD: usize = 4_096;

/// What an instance says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Chosen at random at its start.
    pub instance: u64,
    /// How many subscribers each realm has there.
    pub subscribers: BTreeMap<String, usize>,
    /// How many of them lag.
    pub lagging: usize,
    /// The worst of those, worst first.
    pub named: Vec<LaggingSubscriber>,
}

/// A subscriber that has not acknowledged what came some time ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaggingSubscriber {
    /// As it calls itself.
    pub name: String,
    /// What it follows.
    pub realm: String,
    /// For how long it has owed a receipt.
    pub lag: Duration,
}

/// An instance's word.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    Present(Presence),
    /// How many of your subscribers have acknowledged this?
    Question {
        number: u64,
        asks: u64,
        realm: String,
        revision: String,
    },
    Answer {
        number: u64,
        answers: u64,
        enforced: usize,
        subscribers: usize,
    },
}

/// What another instance answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) number: u64,
    pub(super) instance: u64,
    pub(super) tally: Tally,
}

/// Reads what an instance says of itself; `None` for any other word.
pub fn presence(words: &[u8]) -> Option<Presence> {
    match serde_json::from_slice(words) {
        Ok(Word::Present(presence)) => Some(presence),
        _ => None,
    }
}

/// The others, as far as they were heard.
#[derive(Debug)]
pub(super) struct Company {
    peers: Arc<dyn Peers>,
    entropy: Arc<dyn Entropy>,
    me: u64,
    present: Mutex<HashMap<u64, (Presence, Instant)>>,
    answers: broadcast::Sender<Answer>,
    questions: Arc<Semaphore>,
}

impl Company {
    pub(super) fn new(peers: Arc<dyn Peers>, entropy: Arc<dyn Entropy>) -> Self {
        let me = number(&*entropy);
        let (present, answers) = (Mutex::default(), broadcast::Sender::new(HEARD));
        Self { peers, entropy, me, present, answers, questions: Arc::new(Semaphore::new(QUESTIONS)) }
    }

    /// The instances that have subscribers of a realm, and how many.
    pub(super) fn subscribers_of(&self, realm: &RealmName) -> HashMap<u64, usize> {
        let of_realm = |(instance, (presence, _)): (&u64, &(Presence, Instant))| {
            let count = presence.subscribers.get(realm.as_str()).copied().filter(|count| *count > 0)?;
            Some((*instance, count))
        };
        self.lock().iter().filter_map(of_realm).collect()
    }

    /// Asks all of them. Listen for answers before.
    pub(super) async fn ask(&self, realm: &RealmName, revision: &Revision) -> u64 {
        let number = number(&*self.entropy);
        let (realm, revision) = (realm.to_string(), revision.to_string());
        self.tell(&Word::Question { number, asks: self.me, realm, revision }).await;
        number
    }

    pub(super) fn answers(&self) -> broadcast::Receiver<Answer> {
        self.answers.subscribe()
    }

    async fn tell(&self, word: &Word) {
        let Ok(words) = serde_json::to_vec(word) else { return };
        if let Err(error) = self.peers.tell(&words).await {
            debug!(%error, "the other servers were not told");
        }
    }

    /// Those that are there; forgets the others.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (Presence, Instant)>> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.retain(|_, (_, heard)| heard.elapsed() < GONE_AFTER);
        present
    }
}

fn number(entropy: &dyn Entropy) -> u64 {
    let mut random = [0; 8];
    entropy.fill(&mut random);
    u64::from_le_bytes(random)
}

impl Authority {
    /// Tells the other instances of this one and listens to them, for as long as it is awaited.
    pub async fn keep_company(self: Arc<Self>) {
        let mut heard = self.company.peers.hear();
        let (_, mut subscribers) = self.feed.changes();
        let mut told = BTreeMap::new();
        let mut due = interval(PRESENT_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                words = heard.next() => match words {
                    Some(words) => self.hear(&words),
                    None => return,
                },
                _ = due.tick() => {
                    self.feed.look_for_lagging();
                    told = self.be_present().await;
                }
                // Can't fail while the feed holds the sender.
                _ = subscribers.changed() => {
                    if self.feed.subscribers() != told {
                        sleep(TOGETHER).await;
                        told = self.be_present().await;
                    }
                }
            }
        }
    }

    async fn be_present(&self) -> BTreeMap<RealmName, usize> {
        let subscribers = self.feed.subscribers();
        let lagging = self.feed.lagging();
        let named = lagging.iter().take(NAMED).map(|one| LaggingSubscriber {
            name: one.name.to_string(),
            realm: one.realm.to_string(),
            lag: one.lag,
        });
        let presence = Presence {
            instance: self.company.me,
            subscribers: subscribers.iter().map(|(realm, count)| (realm.to_string(), *count)).collect(),
            lagging: lagging.len(),
            named: named.collect(),
        };
        self.company.tell(&Word::Present(presence)).await;
        subscribers
    }

    fn hear(self: &Arc<Self>, words: &[u8]) {
        // Of another version, or not of ours at all.
        let Ok(word) = serde_json::from_slice(words) else { return };
        match word {
            Word::Present(presence) if presence.instance != self.company.me => {
                self.company.lock().insert(presence.instance, (presence, Instant::now()));
            }
            Word::Question { number, asks, realm, revision } if asks != self.company.me => {
                let question = RealmName::parse(&realm).ok().zip(Revision::parse(&revision));
                // Too many: they find that this instance did not answer.
                let place = self.company.questions.clone().try_acquire_owned();
                if let (Some((realm, revision)), Ok(place)) = (question, place) {
                    let answering = self.clone();
                    self.tasks.spawn_until_stopped(async move {
                        answering.answer(number, Question::new(realm, revision)).await;
                        drop(place);
                    });
                }
            }
            Word::Answer { number, answers, enforced, subscribers } => {
                let tally = Tally { enforced, subscribers };
                // Fails if nobody waits any more.
                let _ = self.company.answers.send(Answer { number, instance: answers, tally });
            }
            Word::Present(_) | Word::Question { .. } => {}
        }
    }

    /// Until all subscribers here have acknowledged it, or nobody waits any more.
    async fn answer(&self, number: u64, mut question: Question) {
        let until = Instant::now() + MOST_WAIT;
        let (mut grown, mut acknowledged) = self.feed.changes();
        let mut told = None;
        loop {
            let tally = self.feed.tally(&mut question);
            if told != Some(tally) {
                let Tally { enforced, subscribers } = tally;
                let answers = self.company.me;
                self.company.tell(&Word::Answer { number, answers, enforced, subscribers }).await;
                told = Some(tally);
            }
            if tally.is_whole() {
                return;
            }
            let changed = async {
                tokio::select! {
                    _ = grown.changed() => {}
                    _ = acknowledged.changed() => {}
                }
            };
            if timeout_at(until, changed).await.is_err() {
                return;
            }
            sleep(TOGETHER).await;
        }
    }
}
