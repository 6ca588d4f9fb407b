//! The index against a plain reading of what each entry means, and the heads of its logs.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::claims::Members;
use crate::domain::ids::{Audience, Sid, Subject, TokenId};
use crate::verify::Worded;

const LATER: Timestamp = Timestamp::from_seconds(10_000);

fn realm(number: u8) -> RealmName {
    RealmName::parse(&format!("realm-{number}")).expect("a realm")
}

fn client(number: u8) -> ClientId {
    ClientId::parse(&format!("client-{number}")).expect("a client")
}

fn kid(number: u8) -> KeyId {
    KeyId::parse(&format!("kid-{number}")).expect("a kid")
}

fn entry(scope: RevocationScope) -> RevocationEntry {
    RevocationEntry { scope, until: LATER }
}

fn at(partition: u16, number: u64, tag: u32) -> Position {
    Position { partition, number, tag }
}

fn snapshot(head: Position, scopes: impl IntoIterator<Item = RevocationScope>) -> LogUpdate {
    LogUpdate::Snapshot { head, entries: scopes.into_iter().map(entry).collect() }
}

/// Small numbers everywhere, so that random tokens and entries meet.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    random: u8,
    owner: u8,
    epoch: u32,
    issued: i64,
    wide: u8,
    session_client: Option<u8>,
    has_session: bool,
}

fn token(n: Numbers) -> VerifiedToken {
    let subject = SubjectKey([n.owner; 16]);
    let sid = Sid { pepper_id: 1, subject, session: SessionId([n.owner; 16]) };
    let route = if n.has_session { Route::BySid } else { Route::Subject { pepper_id: 1, subject } };
    VerifiedToken {
        realm: realm(n.wide),
        kid: kid(n.wide),
        issuer: "i".to_owned(),
        id: TokenId { epoch: n.epoch, origin: Timestamp::from_millis(n.issued), random: [n.random; 16], route },
        subject: Subject::parse("s").expect("a subject"),
        client: client(n.wide),
        audience: vec![Audience::parse("a").expect("an audience")],
        scope: Vec::new(),
        session: n.has_session.then_some(sid),
        session_client: n.session_client.map(client),
        issued: Timestamp::from_millis(n.issued).floor_to_second(),
        expires: LATER,
        not_before: None,
        confirmation: None,
        claims: Members::default(),
        worded: Worded::default(),
    }
}

/// What an entry means, said as plainly as possible.
fn ends(scope: &RevocationScope, token: &VerifiedToken) -> bool {
    match scope {
        RevocationScope::Token(random) => token.id.random == *random,
        RevocationScope::Session(id) => token.session.is_some_and(|sid| sid.session == *id),
        RevocationScope::SessionEpoch(id, below) => {
            token.session.is_some_and(|sid| sid.session == *id) && token.id.epoch < *below
        }
        RevocationScope::SubjectEpoch(key, below) => {
            matches!(token.id.route, Route::Subject { subject, .. } if subject == *key) && token.id.epoch < *below
        }
        RevocationScope::Client(realm, client, at) => {
            let holds = token.client == *client || token.session_client.as_ref() == Some(client);
            token.realm == *realm && holds && token.id.origin <= *at
        }
        RevocationScope::Key(kid) => token.kid == *kid,
        RevocationScope::Realm(realm, at) => token.realm == *realm && token.id.origin <= *at,
    }
}

fn scopes() -> impl Strategy<Value = RevocationScope> {
    let time = (0i64..6).prop_map(Timestamp::from_millis);
    prop_oneof![
        (0u8..6).prop_map(|n| RevocationScope::Token([n; 16])),
        (0u8..6).prop_map(|n| RevocationScope::Session(SessionId([n; 16]))),
        (0u8..6, 0u32..4).prop_map(|(n, below)| RevocationScope::SessionEpoch(SessionId([n; 16]), below)),
        (0u8..6, 0u32..4).prop_map(|(n, below)| RevocationScope::SubjectEpoch(SubjectKey([n; 16]), below)),
        (0u8..6, 0u8..6, time.clone()).prop_map(|(r, c, at)| RevocationScope::Client(realm(r), client(c), at)),
        (0u8..6).prop_map(|n| RevocationScope::Key(kid(n))),
        (0u8..6, time).prop_map(|(n, at)| RevocationScope::Realm(realm(n), at)),
    ]
}

fn tokens() -> impl Strategy<Value = VerifiedToken> {
    (0u8..6, 0u8..6, 0u32..4, 0i64..6, 0u8..6, prop::option::of(0u8..6), any::<bool>()).prop_map(
        |(random, owner, epoch, issued, wide, session_client, has_session)| {
            token(Numbers { random, owner, epoch, issued, wide, session_client, has_session })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Requirement of every verifier: the latest cut-off over all scopes, in whatever order entries
    /// came, however often, and whether one by one or as a snapshot.
    #[test]
    fn a_token_is_ended_if_any_entry_ends_it(
        scopes in prop::collection::vec(scopes(), 0..6), token in tokens(), seed: usize,
    ) {
        let expected = scopes.iter().any(|scope| ends(scope, &token));
        let one_by_one = RevocationIndex::new(1);
        for i in 0..scopes.len() * 2 {
            let scope = scopes[(i.wrapping_mul(5).wrapping_add(seed)) % scopes.len()].clone();
            one_by_one.apply(&LogUpdate::Entry { position: at(0, 1, 0), entry: entry(scope) });
        }
        // A stride of five need not reach every entry.
        one_by_one.apply(&snapshot(at(0, 1, 0), scopes.clone().into_iter().rev()));
        let at_once = RevocationIndex::new(1);
        at_once.apply(&snapshot(at(0, 1, 0), scopes));
        prop_assert_eq!(at_once.ended(&token), expected);
        prop_assert_eq!(one_by_one.ended(&token), expected);
        prop_assert_eq!(one_by_one.len(), at_once.len());
    }

    /// Pruning changes no answer about a token that has not expired.
    #[test]
    fn pruning_forgets_only_what_is_over(
        entries in prop::collection::vec((scopes(), 0i64..4_000), 0..6), token in tokens(), now in 0i64..4_000,
    ) {
        let index = RevocationIndex::new(1);
        let now = Timestamp::from_millis(now);
        let mut still = false;
        for (scope, until) in entries {
            let until = Timestamp::from_millis(until);
            still |= until >= now && ends(&scope, &token);
            let entry = RevocationEntry { scope, until };
            index.apply(&LogUpdate::Entry { position: at(0, 1, 0), entry });
        }
        index.prune(now);
        prop_assert!(!still || index.ended(&token));
        index.prune(LATER);
        prop_assert!(index.is_empty() && !index.ended(&token));
    }
}

#[test]
fn a_weaker_entry_takes_nothing_back() {
    let session = SessionId([1; 16]);
    let with_session = Numbers { has_session: true, ..NUMBERS };
    let below = |n| RevocationScope::SessionEpoch(session, n);
    let subject_below = |n| RevocationScope::SubjectEpoch(SubjectKey([1; 16]), n);
    let at_or_before = |millis| RevocationScope::Realm(realm(1), Timestamp::from_millis(millis));
    for (strong, weak, numbers) in [
        (below(3), below(2), with_session),
        (subject_below(3), subject_below(2), NUMBERS),
        (at_or_before(3), at_or_before(2), NUMBERS),
    ] {
        let (strong, weak) = ((strong, Timestamp::from_seconds(1)), (weak, Timestamp::from_seconds(9)));
        for order in [[strong.clone(), weak.clone()], [weak, strong]] {
            let index = RevocationIndex::new(1);
            for (scope, until) in order {
                index.apply(&LogUpdate::Entry { position: at(0, 1, 0), entry: RevocationEntry { scope, until } });
            }
            // Kept for as long as either of them asked.
            index.prune(Timestamp::from_seconds(5));
            assert!(index.ended(&token(numbers)));
            assert_eq!((index.len(), index.session_ended(session)), (1, false));
        }
    }
}

const NUMBERS: Numbers =
    Numbers { random: 1, owner: 1, epoch: 2, issued: 3, wide: 1, session_client: None, has_session: false };

#[test]
fn an_entry_stays_until_its_second_is_over() {
    let index = RevocationIndex::new(1);
    let entry = RevocationEntry { scope: RevocationScope::Token([1; 16]), until: Timestamp::from_millis(1_900) };
    index.apply(&LogUpdate::Entry { position: at(0, 1, 0), entry });
    for (now, left) in [(1_000, 1), (1_900, 1), (2_000, 0)] {
        index.prune(Timestamp::from_millis(now));
        assert_eq!(index.len(), left, "at {now}");
    }
}

#[test]
fn sessions_and_cut_offs_are_asked_at_refresh_too() {
    let index = RevocationIndex::new(1);
    assert_eq!(index.cut_off(&realm(1), &client(1)), None);
    index.apply(&snapshot(
        at(0, 1, 0),
        [
            RevocationScope::Session(SessionId([1; 16])),
            RevocationScope::Client(realm(1), client(1), Timestamp::from_millis(7)),
            RevocationScope::Client(realm(1), client(1), Timestamp::from_millis(5)),
            RevocationScope::Realm(realm(1), Timestamp::from_millis(6)),
        ],
    ));
    assert!(index.session_ended(SessionId([1; 16])));
    assert!(!index.session_ended(SessionId([2; 16])));
    assert_eq!(index.cut_off(&realm(1), &client(1)), Some(Timestamp::from_millis(7)));
    assert_eq!(index.cut_off(&realm(1), &client(2)), Some(Timestamp::from_millis(6)));
    assert_eq!(index.cut_off(&realm(2), &client(1)), None);
}

#[test]
fn it_is_complete_once_every_partition_was_read() {
    let index = RevocationIndex::new(2);
    index.apply(&snapshot(at(0, 5, 1), []));
    assert!(!index.is_complete());
    // An entry is no snapshot: what came before it may be missing.
    index.apply(&LogUpdate::Entry { position: at(1, 9, 1), entry: entry(RevocationScope::Key(kid(1))) });
    assert!(!index.is_complete());
    assert!(!index.covers(&Revision::at(at(1, 9, 1))));
    index.apply(&snapshot(at(1, 9, 1), []));
    assert!(index.is_complete());
    assert!(index.covers(&index.revision()));
    assert_eq!(index.revision_of([1, 1]), Revision::at(at(1, 9, 1)));
    assert_eq!(index.revision_of([0, 1]), index.revision());
    // A partition that the store does not have.
    index.apply(&snapshot(at(7, 1, 1), []));
    assert!(!index.covers(&Revision::at(at(7, 1, 1))));
}

#[test]
fn a_revision_is_covered_only_by_the_same_branch_of_the_log() {
    let index = RevocationIndex::new(1);
    index.apply(&snapshot(at(0, 5, 1), []));
    let covers = |number, tag| index.covers(&Revision::at(at(0, number, tag)));
    assert!(index.covers(&Revision::default()));
    assert!(covers(4, 9) && covers(5, 1));
    assert!(!covers(5, 2) && !covers(6, 1));
    index.apply(&LogUpdate::Entry { position: at(0, 6, 1), entry: entry(RevocationScope::Key(kid(1))) });
    assert!(covers(5, 2) && covers(6, 1));
    // Failover: the log is back at 3. What it loses is kept, but no longer claimed as its head.
    index.apply(&snapshot(at(0, 3, 8), []));
    assert!(covers(3, 8) && !covers(5, 2));
    assert_eq!(index.len(), 1);
}

#[tokio::test]
async fn waiting_ends_when_the_revision_arrives() {
    let index = std::sync::Arc::new(RevocationIndex::new(1));
    let wanted = Revision::at(at(0, 6, 1));
    let waits = |index: std::sync::Arc<RevocationIndex>, wanted: Revision| async move {
        index.complete().await;
        index.covered(&wanted).await;
    };
    let mut waiting = std::pin::pin!(waits(std::sync::Arc::clone(&index), wanted));
    assert!(futures::poll!(&mut waiting).is_pending());
    index.apply(&snapshot(at(0, 5, 1), []));
    assert!(futures::poll!(&mut waiting).is_pending());
    index.apply(&LogUpdate::Entry { position: at(0, 6, 1), entry: entry(RevocationScope::Key(kid(1))) });
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it is covered");
}
