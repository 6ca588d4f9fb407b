//! Entries as the index holds them: sets that only grow, but for what has expired. Adding one twice, or an older
//! one after a newer, changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::super::uniform::Uniform;
use crate::domain::ids::{ClientId, KeyId, RealmName, SessionId, SubjectKey};
use crate::domain::revocation::{RevocationEntry, RevocationScope};
use crate::domain::time::Timestamp;

pub(super) type Random = Uniform<16>;

/// When an entry may be forgotten, in whole seconds: half the memory of a `Timestamp`. Compared with
/// whole seconds only, so that rounding never forgets too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Until(u32);

impl Until {
    fn new(until: Timestamp) -> Self {
        Self(u32::try_from(until.seconds().max(0)).unwrap_or(u32::MAX))
    }

    fn is_over(self, now: Timestamp) -> bool {
        i64::from(self.0) < now.seconds()
    }

    fn of(self, scope: RevocationScope) -> RevocationEntry {
        RevocationEntry { scope, until: Timestamp::from_seconds(i64::from(self.0)) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Epoch {
    below: u32,
    until: Until,
}

/// A cut-off by time: tokens issued at or before it are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CutOff {
    at: Timestamp,
    until: Until,
}

/// The token, session or subject that an entry is about; `None`: it is about many.
pub(super) fn about(scope: &RevocationScope) -> Option<Random> {
    match scope {
        RevocationScope::Token(id) => Some(Uniform(*id)),
        RevocationScope::Session(session) | RevocationScope::SessionEpoch(session, _) => Some(Uniform(session.0)),
        RevocationScope::SubjectEpoch(subject, _) => Some(Uniform(subject.0)),
        RevocationScope::Key(_) | RevocationScope::Client(..) | RevocationScope::Realm(..) => None,
    }
}

/// Entries about one token, session or subject, by random bytes. Trees, since a hash table that has just
/// doubled takes half as much again, and leaves as much behind.
#[derive(Debug, Default)]
pub(super) struct Shard {
    tokens: BTreeMap<Random, Until>,
    sessions: BTreeMap<Random, Until>,
    session_epochs: BTreeMap<Random, Epoch>,
    subject_epochs: BTreeMap<Random, Epoch>,
}

impl Shard {
    pub(super) fn insert(&mut self, entry: &RevocationEntry) {
        let until = Until::new(entry.until);
        match &entry.scope {
            RevocationScope::Token(id) => lengthen(self.tokens.entry(Uniform(*id)).or_insert(until), until),
            RevocationScope::Session(id) => lengthen(self.sessions.entry(Uniform(id.0)).or_insert(until), until),
            RevocationScope::SessionEpoch(id, below) => {
                raise(&mut self.session_epochs, Uniform(id.0), Epoch { below: *below, until });
            }
            RevocationScope::SubjectEpoch(subject, below) => {
                raise(&mut self.subject_epochs, Uniform(subject.0), Epoch { below: *below, until });
            }
            RevocationScope::Key(_) | RevocationScope::Client(..) | RevocationScope::Realm(..) => {}
        }
    }

    pub(super) fn ends_token(&self, id: Random) -> bool {
        self.tokens.contains_key(&id)
    }

    pub(super) fn ends_session(&self, session: Random) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Whether the session is ended, or its access tokens of this epoch are.
    pub(super) fn ends_epoch_of_session(&self, session: Random, epoch: u32) -> bool {
        self.ends_session(session) || self.session_epochs.get(&session).is_some_and(|ended| epoch < ended.below)
    }

    pub(super) fn ends_epoch_of_subject(&self, subject: Random, epoch: u32) -> bool {
        self.subject_epochs.get(&subject).is_some_and(|ended| epoch < ended.below)
    }

    pub(super) fn prune(&mut self, now: Timestamp) {
        self.tokens.retain(|_, until| !until.is_over(now));
        self.sessions.retain(|_, until| !until.is_over(now));
        self.session_epochs.retain(|_, epoch| !epoch.until.is_over(now));
        self.subject_epochs.retain(|_, epoch| !epoch.until.is_over(now));
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len() + self.sessions.len() + self.session_epochs.len() + self.subject_epochs.len()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = RevocationEntry> + '_ {
        let tokens = self.tokens.iter().map(|(id, until)| until.of(RevocationScope::Token(id.0)));
        let sessions = self.sessions.iter().map(|(id, until)| until.of(RevocationScope::Session(SessionId(id.0))));
        let of_sessions = self.session_epochs.iter();
        let of_sessions =
            of_sessions.map(|(id, epoch)| epoch.until.of(RevocationScope::SessionEpoch(SessionId(id.0), epoch.below)));
        let of_subjects = self.subject_epochs.iter();
        let of_subjects =
            of_subjects.map(|(id, epoch)| epoch.until.of(RevocationScope::SubjectEpoch(SubjectKey(id.0), epoch.below)));
        tokens.chain(sessions).chain(of_sessions).chain(of_subjects)
    }
}

/// Entries about many tokens: few, and usually none.
#[derive(Debug, Default)]
pub(super) struct Wide {
    keys: HashMap<KeyId, Until>,
    clients: HashMap<RealmName, HashMap<ClientId, CutOff>>,
    realms: HashMap<RealmName, CutOff>,
}

impl Wide {
    pub(super) fn insert(&mut self, entry: &RevocationEntry) {
        let until = Until::new(entry.until);
        match &entry.scope {
            RevocationScope::Key(kid) => lengthen(self.keys.entry(kid.clone()).or_insert(until), until),
            RevocationScope::Client(realm, client, at) => {
                let clients = self.clients.entry(realm.clone()).or_default();
                defer(clients, client.clone(), CutOff { at: *at, until });
            }
            RevocationScope::Realm(realm, at) => defer(&mut self.realms, realm.clone(), CutOff { at: *at, until }),
            RevocationScope::Token(_)
            | RevocationScope::Session(_)
            | RevocationScope::SessionEpoch(..)
            | RevocationScope::SubjectEpoch(..) => {}
        }
    }

    pub(super) fn ends_key(&self, kid: &KeyId) -> bool {
        self.keys.contains_key(kid)
    }

    /// The later of the client's and the realm's.
    pub(super) fn cut_off(&self, realm: &RealmName, client: &ClientId) -> Option<Timestamp> {
        let of_client = self.clients.get(realm).and_then(|clients| clients.get(client));
        of_client.into_iter().chain(self.realms.get(realm)).map(|cut_off| cut_off.at).max()
    }

    pub(super) fn prune(&mut self, now: Timestamp) {
        self.keys.retain(|_, until| !until.is_over(now));
        self.realms.retain(|_, cut_off| !cut_off.until.is_over(now));
        self.clients.retain(|_, clients| {
            clients.retain(|_, cut_off| !cut_off.until.is_over(now));
            !clients.is_empty()
        });
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.realms.len() + self.clients.values().map(HashMap::len).sum::<usize>()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = RevocationEntry> + '_ {
        let keys = self.keys.iter().map(|(kid, until)| until.of(RevocationScope::Key(kid.clone())));
        let clients = self.clients.iter().flat_map(|(realm, clients)| {
            let one = |(client, cut_off): (&ClientId, &CutOff)| {
                cut_off.until.of(RevocationScope::Client(realm.clone(), client.clone(), cut_off.at))
            };
            clients.iter().map(one)
        });
        let realms = self.realms.iter();
        let realms = realms.map(|(realm, cut_off)| cut_off.until.of(RevocationScope::Realm(realm.clone(), cut_off.at)));
        keys.chain(clients).chain(realms)
    }
}

fn lengthen(known: &mut Until, until: Until) {
    *known = (*known).max(until);
}

/// The higher epoch ends more, and is kept for as long as either asked.
fn raise(map: &mut BTreeMap<Random, Epoch>, key: Random, new: Epoch) {
    let known = map.entry(key).or_insert(new);
    *known = Epoch { below: known.below.max(new.below), until: known.until.max(new.until) };
}

/// The later cut-off ends more, and is kept for as long as either asked.
fn defer<K: Eq + Hash>(map: &mut HashMap<K, CutOff>, key: K, new: CutOff) {
    let known = map.entry(key).or_insert(new);
    *known = CutOff { at: known.at.max(new.at), until: known.until.max(new.until) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million must fit into 64 MB: 16 bytes of key and 4 of value, in trees that are at least half full.
    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<(Random, Until)>(), 20);
        assert_eq!(size_of::<(Random, Epoch)>(), 24);
    }
}
