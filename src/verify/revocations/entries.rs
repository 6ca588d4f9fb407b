//! Entries as the index holds them: in whatever order and however often they are added, the same is held. Knows
//! no lock, no log and no time.

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
pub(super) struct Until(u32);

impl Until {
    pub(super) fn new(until: Timestamp) -> Self {
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
    pub(super) fn end_token(&mut self, id: Random, until: Until) {
        lengthen(self.tokens.entry(id).or_insert(until), until);
    }

    pub(super) fn end_session(&mut self, session: Random, until: Until) {
        lengthen(self.sessions.entry(session).or_insert(until), until);
    }

    pub(super) fn end_epochs_of_session(&mut self, session: Random, below: u32, until: Until) {
        raise(&mut self.session_epochs, session, Epoch { below, until });
    }

    pub(super) fn end_epochs_of_subject(&mut self, subject: Random, below: u32, until: Until) {
        raise(&mut self.subject_epochs, subject, Epoch { below, until });
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
    pub(super) fn end_key(&mut self, kid: &KeyId, until: Until) {
        lengthen(self.keys.entry(kid.clone()).or_insert(until), until);
    }

    pub(super) fn cut_off_client(&mut self, realm: &RealmName, client: &ClientId, at: Timestamp, until: Until) {
        let clients = self.clients.entry(realm.clone()).or_default();
        defer(clients, client.clone(), CutOff { at, until });
    }

    pub(super) fn cut_off_realm(&mut self, realm: &RealmName, at: Timestamp, until: Until) {
        defer(&mut self.realms, realm.clone(), CutOff { at, until });
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

    /// A million must fit into 64 MB: 16 bytes of key and 4 of value, in trees that are at least 5/11 full.
    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<(Random, Until)>(), 20);
        assert_eq!(size_of::<(Random, Epoch)>(), 24);
    }
}
