//! Revocations as a verifier follows them: at once from the feed, from a snapshot after a gap, and by
//! policy where the feed is cut.

use std::time::Duration;

use token_authority::client::{NotAuthenticated, Outage, Rejection, WhenStale};
use token_authority::domain::ids::Sid;
use token_authority::proto::v1;
use token_authority::proto::v1::revocation_entry::Target;
use token_authority::proto::v1::watch_revocations_response::Event;
use token_authority::verify;

use super::relay::{Relay, until, wire};

const MOST: Duration = Duration::from_secs(10);
const REVOKED: Rejection = Rejection::NotAuthenticated(NotAuthenticated::Token(verify::Rejection::Revoked));
const NOT_ACTIVE: Rejection = Rejection::NotAuthenticated(NotAuthenticated::NotActive);

/// The end of a session, computed from its token's claims as any client would.
fn end_of(relay: &Relay, tokens: &v1::TokenPair) -> v1::RevocationEntry {
    let sid = Sid::parse(&tokens.session_id).expect("a sid");
    v1::RevocationEntry {
        target: Some(Target::Session(sid.session.0.to_vec())),
        expire_time: Some(wire(relay.now() + Duration::from_secs(1_000))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_tokens_that_were_seen_before() {
    let relay = Relay::start().await;
    let verifier = relay.verifier().build().expect("names");
    let feed = relay.feed().await;
    feed.snapshot(Vec::new(), "r0", relay.now());
    verifier.ready().await;
    let (ann, other) = (relay.login().await, relay.login().await);
    for tokens in [&ann, &other] {
        verifier.verify(&tokens.access_token).await.expect("valid");
    }
    feed.delta(1, vec![end_of(&relay, &ann)], "r1", relay.now());
    until(|| verifier.verify_known(&ann.access_token) == Some(Err(REVOKED))).await;
    verifier.verify(&other.access_token).await.expect("another session");
    assert_eq!(relay.introspections(), 0, "all of it in memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_acknowledged_and_nothing_else() {
    let relay = Relay::start().await;
    let verifier = relay.verifier().name("orders on host 1").build().expect("names");
    let feed = relay.feed().await;
    assert_eq!(feed.client_name, "orders on host 1");
    let ann = relay.login().await;
    feed.snapshot(Vec::new(), "r0", relay.now());
    assert_eq!(feed.receipt().await, 1);
    feed.delta(1, vec![end_of(&relay, &ann)], "r1", relay.now());
    assert_eq!(feed.receipt().await, 2);
    assert_eq!(verifier.verify_known(&ann.access_token), Some(Err(REVOKED)), "before it was acknowledged");
    // One that can't be understood ends the stream instead.
    feed.delta(2, vec![v1::RevocationEntry::default()], "r2", relay.now());
    assert_eq!(feed.last_word().await, None);
    assert_eq!(relay.feed().await.after_revision, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_snapshot_proves_nothing() {
    let relay = Relay::start().await;
    let verifier = relay.verifier().max_staleness(MOST, WhenStale::Refuse).build().expect("names");
    let feed = relay.feed().await;
    let (ann, other) = (relay.login().await, relay.login().await);
    let entries = vec![end_of(&relay, &ann)];
    feed.send(Event::Snapshot(v1::RevocationSnapshot { entries, ..Default::default() }));
    until(|| verifier.verify_known(&ann.access_token) == Some(Err(REVOKED))).await;
    let stale = Err(Rejection::Unavailable(Outage::Revocations));
    assert_eq!(verifier.verify(&other.access_token).await, stale, "its entry may be in the other half");
    feed.snapshot(Vec::new(), "r0", relay.now());
    until(|| matches!(verifier.verify_known(&other.access_token), Some(Ok(_)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_goes_on_and_a_gap_starts_over() {
    let relay = Relay::start().await;
    let verifier = relay.verifier().build().expect("names");
    let feed = relay.feed().await;
    assert_eq!(feed.after_revision, "");
    feed.snapshot(Vec::new(), "r0", relay.now());
    feed.delta(1, Vec::new(), "r1", relay.now());
    drop(feed);
    let feed = relay.feed().await;
    assert_eq!(feed.after_revision, "r1", "it goes on from what it holds");

    let missed = relay.login().await;
    feed.delta(1, Vec::new(), "r2", relay.now());
    feed.delta(3, Vec::new(), "r4", relay.now());
    let feed = relay.feed().await;
    assert_eq!(feed.after_revision, "", "it does not believe what it holds");
    feed.snapshot(vec![end_of(&relay, &missed)], "r4", relay.now());
    until(|| verifier.verify_known(&missed.access_token) == Some(Err(REVOKED))).await;

    feed.send(Event::Delta(v1::RevocationDelta { sequence_number: 2, ..Default::default() }));
    let feed = relay.feed().await;
    assert_eq!(feed.after_revision, "", "numbers start at one");
    feed.delta(1, Vec::new(), "r5", relay.now());
    let feed = relay.feed().await;
    assert_eq!(feed.after_revision, "", "a change without the snapshot is none");
    feed.snapshot(vec![v1::RevocationEntry::default()], "r6", relay.now());
    assert_eq!(relay.feed().await.after_revision, "", "what can't be read might be anybody's end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_feed_meets_the_policy_and_no_revoked_token_passes() {
    let relay = Relay::start().await;
    for when_stale in [WhenStale::Introspect, WhenStale::Refuse, WhenStale::Accept] {
        let verifier = relay.verifier().max_staleness(MOST, when_stale).build().expect("names");
        let feed = relay.feed().await;
        feed.snapshot(Vec::new(), "r0", relay.now());
        verifier.ready().await;
        drop(feed);
        let (alive, revoked) = (relay.login().await, relay.login().await);
        relay.server.revoke(&revoked.access_token).await;
        let before = relay.introspections();
        relay.introspect(true);

        relay.server.pass(MOST);
        for tokens in [&alive, &revoked] {
            verifier.verify(&tokens.access_token).await.expect("the feed is as old as it may be");
        }
        assert_eq!(relay.introspections(), before);

        relay.server.pass(Duration::from_millis(1));
        let stale = Err(Rejection::Unavailable(Outage::Revocations));
        let (alive, revoked) = (alive.access_token, revoked.access_token);
        match when_stale {
            WhenStale::Introspect => {
                assert!(verifier.verify(&alive).await.is_ok());
                assert_eq!(verifier.verify(&revoked).await, Err(NOT_ACTIVE));
                assert_eq!(relay.introspections(), before + 2);
                relay.introspect(false);
                assert_eq!(verifier.verify(&alive).await, Err(Rejection::Unavailable(Outage::Introspection)));
                assert_eq!(relay.introspections(), before + 5, "three attempts");
            }
            WhenStale::Refuse => {
                assert_eq!(verifier.verify(&alive).await, stale);
                assert_eq!(verifier.verify(&revoked).await, stale);
            }
            WhenStale::Accept => assert!(verifier.verify(&revoked).await.is_ok(), "as the operator chose"),
        }
        drop(verifier);
        // What the cut feed opened again.
        while tokio::time::timeout(Duration::ZERO, relay.feed()).await.is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_makes_nothing_look_fresh() {
    let relay = Relay::start().await;
    let verifier = relay.verifier().max_staleness(MOST, WhenStale::Refuse).build().expect("names");
    relay.feed().await.snapshot(Vec::new(), "r0", relay.now() + Duration::from_secs(3_600));
    verifier.ready().await;
    let token = relay.login().await.access_token;
    verifier.verify(&token).await.expect("fresh");
    relay.server.pass(MOST + Duration::from_millis(1));
    assert_eq!(verifier.verify(&token).await, Err(Rejection::Unavailable(Outage::Revocations)));
}
