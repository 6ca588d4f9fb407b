//! Keys that rotate by themselves: no verification fails over a year, at a crash, between instances.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use token_authority::authority::Error;
use token_authority::authority::introspect_token::Consistency;
use token_authority::authority::issue_token::IssueKind;
use token_authority::authority::keys::KeyView;
use token_authority::authority::ports::Store as _;
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::{KeyId, RealmName};
use token_authority::domain::key_ring::KeyState;
use token_authority::domain::revocation::{LogUpdate, RevocationScope};
use token_authority::domain::rotate_keys::PublishAhead;
use token_authority::domain::time::Timestamp;
use token_authority::verify::keys::{Issuers, KeySet, PublicKey, VerifyKey};
use token_authority::verify::{Leeway, Verifier};

use self::poller::Poller;
use crate::store_faults::faulty_store::Fault;
use crate::store_faults::world::{World, login};

mod poller;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);

async fn keys(world: &World) -> Vec<KeyView> {
    world.authority.list_keys("web").await.expect("lists")
}

fn in_state(keys: &[KeyView], state: KeyState) -> Vec<KeyId> {
    keys.iter().filter(|key| key.state == state).map(|key| key.kid.clone()).collect()
}

fn published(world: &World) -> BTreeSet<String> {
    let set = world.authority.json_web_key_set("web").expect("a set");
    set.keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

async fn job(world: &World) -> String {
    let issued = world.authority.issue_token("web", login("job", "none", IssueKind::Sessionless)).await;
    issued.expect("issues").access_token
}

/// The key that signs at `time`, told from the dates that the service gives out.
fn signer_at(keys: &[KeyView], time: Timestamp) -> &str {
    let signs = keys.iter().filter(|key| key.activates.is_some_and(|turn| turn <= time));
    signs.max_by_key(|key| key.activates).expect("a key that signs").kid.as_str()
}

/// A token a minute for a year of twelve rotations. Verifiers fetch the key set every 20 and every 60
/// minutes, through a cache that keeps it for 300 s. The key of every token is known to both for as long
/// as the token lives; one token of thirty, and the first of each key, is made and checked for real.
#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_rotations_fails_no_verification() {
    let lifetime = 30 * DAY;
    let world = World::with(|policy| policy.keys.lifetime = Some(lifetime)).await;
    let mut pollers = [Poller::every(20, 11, &world), Poller::every(60, 59, &world)];
    let mut cached = world.authority.json_web_key_set("web").expect("a set");
    let mut views = keys(&world).await;
    let (mut alive, mut signers, mut checked) = (Vec::new(), BTreeSet::new(), 0);
    for minute in 0..366 * 24 * 60_u32 {
        let now = NOON + minute * MINUTE;
        world.clock.set(now);
        // Later than it would be: the dates of a step count from when it is taken.
        if minute % 5 == 0 {
            world.authority.tend_keys_once().await;
            let served = world.authority.json_web_key_set("web").expect("a set");
            if served != cached {
                (cached, views) = (served, keys(&world).await);
            }
        }
        pollers.iter_mut().for_each(|poller| poller.pass(minute, &cached));

        let kid = signer_at(&views, now).to_owned();
        let fresh = signers.insert(kid.clone());
        let token = if minute % 30 == 0 || fresh { Some(job(&world).await) } else { None };
        alive.push((now + 15 * MINUTE, kid, token));
        let over = alive.partition_point(|(expires, ..)| *expires <= now);
        for (expires, kid, token) in alive.drain(..over).collect::<Vec<_>>() {
            // At its last moment, which a verifier's leeway makes longer.
            check(&pollers, &kid, token.as_deref(), expires + Duration::from_secs(59));
        }
        let (_, kid, token) = alive.last().expect("just issued");
        check(&pollers, kid, token.as_deref(), now);
        checked += u32::from(token.is_some());
    }
    println!("{} keys signed, {checked} tokens made and checked twice by both verifiers", signers.len());
    assert_eq!(signers.len(), 13);
}

fn check(pollers: &[Poller], kid: &str, token: Option<&str>, now: Timestamp) {
    for poller in pollers {
        assert!(poller.kids.contains(kid), "{now:?}: {kid} is not known to who fetches every {} min", poller.every);
        if let Some(token) = token {
            poller.verifies(token, now);
        }
    }
}

/// Both take the same step, and both go on with the one that was committed.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_that_step_at_once_one_wins() {
    let first = World::with(|policy| policy.keys.lifetime = Some(DAY)).await;
    let second = first.beside().await;
    let instances = [&first, &second];
    let mut signed = BTreeSet::new();
    for minute in 0..5 * 24 * 60_u32 {
        let now = NOON + minute * MINUTE;
        first.clock.set(now);
        if minute % 30 != 0 {
            continue;
        }
        tokio::join!(first.authority.tend_keys_once(), second.authority.tend_keys_once());
        let views = [keys(&first).await, keys(&second).await];
        assert_eq!(views[0], views[1]);
        assert_eq!(published(&first), published(&second));
        assert_eq!(in_state(&views[0], KeyState::Active).len(), 1, "{:?}", views[0]);
        for instance in instances {
            let token = job(instance).await;
            for verifier in instances {
                assert!(verifier.active(&token).await, "minute {minute}");
            }
        }
        signed.extend(in_state(&views[0], KeyState::Active).iter().map(ToString::to_string));
    }
    assert_eq!(signed.len(), 5);
    assert!(keys(&first).await.len() <= 4, "the keys of lost races were kept");
}

#[derive(Debug, Clone, Copy)]
enum Rotation {
    /// The successor gets its date, and a standby is made.
    Schedule,
    /// The key before is forgotten.
    Remove,
    Prepare,
    Activate,
    Retire,
    Revoke,
}

impl Rotation {
    const ALL: [Self; 6] = [Self::Schedule, Self::Remove, Self::Prepare, Self::Activate, Self::Retire, Self::Revoke];

    /// When it is taken.
    fn time(self) -> Timestamp {
        match self {
            Self::Schedule => NOON + 29 * DAY + 22 * HOUR,
            Self::Remove => NOON + 31 * DAY,
            Self::Prepare | Self::Activate | Self::Retire | Self::Revoke => NOON + 2 * HOUR,
        }
    }

    async fn take(self, world: &World, first: &KeyId, standby: &KeyId) -> Result<(), Error> {
        let authority = &world.authority;
        match self {
            Self::Schedule | Self::Remove => {
                authority.tend_keys_once().await;
                Ok(())
            }
            Self::Prepare => authority.prepare_key("web", None, None).await.map(drop),
            Self::Activate => {
                authority.activate_key("web", Some(standby.clone()), PublishAhead::Required).await.map(drop)
            }
            Self::Retire => authority.retire_key("web", first.clone()).await.map(drop),
            Self::Revoke => authority.revoke_key("web", first.clone(), "leaked").await.map(drop),
        }
    }
}

#[rustfmt::skip]
const SCRIPTS: &[&[Fault]] = &[
    &[Fault::Unavailable],
    &[Fault::Full],
    &[Fault::UnknownLost; 3],
    &[Fault::UnknownApplied],
    &[Fault::UnknownApplied; 3],
    &[Fault::UnknownApplied, Fault::Unavailable, Fault::Unavailable],
    &[Fault::UnknownApplied, Fault::Overtaken],
    &[Fault::Overtaken],
    &[Fault::Overtaken; 40],
];

/// Runs one case; `false` if the rotation makes fewer calls than `pass`.
async fn resumes(rotation: Rotation, pass: usize, script: &[Fault]) -> bool {
    let world = World::with(|policy| policy.keys.lifetime = Some(30 * DAY)).await;
    let first = in_state(&keys(&world).await, KeyState::Active).pop().expect("a key");
    let standby = in_state(&keys(&world).await, KeyState::Prepared).pop().expect("a key");
    if let Rotation::Remove = rotation {
        world.clock.set(Rotation::Schedule.time());
        world.authority.tend_keys_once().await;
    }
    world.clock.set(rotation.time());
    let before = job(&world).await;
    world.store.arm(pass, script);
    let outcome = rotation.take(&world, &first, &standby).await;
    let (calls, _) = world.store.disarm();

    // The process is gone, and another finds what it left.
    let after = world.beside().await;
    after.authority.tend_keys_once().await;
    let now = rotation.time();
    assert_eq!(in_state(&keys(&after).await, KeyState::Active).len(), 1, "after {outcome:?}");
    assert!(after.active(&job(&after).await).await);
    assert!(published(&after).contains(signer_at(&keys(&after).await, now)));
    let ended =
        matches!(rotation, Rotation::Revoke) && in_state(&keys(&after).await, KeyState::Revoked) == [first.clone()];
    assert_eq!(after.active(&before).await, !ended, "a token from before, after {outcome:?}");
    assert!(outcome.is_err() || !matches!(rotation, Rotation::Revoke) || ended, "acknowledged, and not revoked");

    rotation.take(&after, &first, &standby).await.expect("the same again");
    after.authority.tend_keys_once().await;
    let views = keys(&after).await;
    assert_eq!((in_state(&views, KeyState::Active).len(), in_state(&views, KeyState::Prepared).is_empty()), (1, false));
    assert!(after.active(&job(&after).await).await);
    calls.len() > pass
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_a_rotation_leaves_one_active_key() {
    let mut cases = 0;
    for rotation in Rotation::ALL {
        for script in SCRIPTS {
            let mut pass = 0;
            loop {
                match tokio::task::spawn(resumes(rotation, pass, script)).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => panic!("{rotation:?}, call {pass}, {script:?}: {error}"),
                }
                (pass, cases) = (pass + 1, cases + 1);
            }
            assert!(pass > 1, "{rotation:?} never commits");
        }
    }
    println!("{cases} faults injected");
    assert!(cases > 100, "{cases}");
}

/// The log tells every instance; none signs with the key any more, or takes what it signed.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_at_every_instance_at_once() {
    let first = World::new().await;
    let second = first.beside().await;
    let (stolen, session) = (job(&second).await, second.login("ann", "phone").await);
    let compromised = in_state(&keys(&first).await, KeyState::Active).pop().expect("a key");
    first.authority.revoke_key("web", compromised.clone(), "leaked").await.expect("revokes");
    assert!(!first.active(&stolen).await);
    assert!(!published(&first).contains(compromised.as_str()));
    assert!(first.active(&job(&first).await).await, "a standby took over");

    // All that the second instance is told.
    let LogUpdate::Snapshot { head, entries } = first.store.follow().await.unwrap().recv().await.unwrap() else {
        panic!("the first update is a snapshot");
    };
    assert!(entries.iter().any(|entry| entry.scope == RevocationScope::Key(compromised.clone())));
    second.index.apply(&LogUpdate::Snapshot { head, entries });
    assert!(!second.active(&stolen).await && !second.active(&session.access_token).await);
    assert!(second.active(&job(&second).await).await, "signed by the one that took over");
    assert!(!published(&second).contains(compromised.as_str()));
    let next = second.refresh(session.refresh_token.as_ref().unwrap()).await.expect("the session lives on");
    assert!(second.active(&next.access_token).await);

    // With no standby left, one is made in the same step.
    for key in in_state(&keys(&first).await, KeyState::Prepared) {
        first.authority.revoke_key("web", key, "").await.expect("revokes");
    }
    let last = in_state(&keys(&first).await, KeyState::Active).pop().expect("a key");
    first.authority.revoke_key("web", last, "").await.expect("revokes");
    assert_eq!(in_state(&keys(&first).await, KeyState::Active).len(), 1);
    assert!(first.active(&job(&first).await).await);
}

/// A key that another instance made and uses at once is found by its first token; made-up ones cost the
/// store one reading a tick.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_looked_for_once_and_not_for_every_stranger() {
    let first = World::new().await;
    let second = first.beside().await;
    let prepared = first.authority.prepare_key("web", None, None).await.expect("a key").kid;
    first.authority.activate_key("web", Some(prepared), PublishAhead::Skipped).await.expect("signs");
    let token = job(&first).await;
    assert!(second.active(&token).await, "known by its first token");

    let other = World::new().await;
    let strange = job(&other).await;
    first.store.arm(0, &[]);
    for _ in 0..100 {
        assert!(!second.active(&strange).await);
    }
    assert!(first.store.disarm().0.is_empty(), "the permit of this tick was used");
    second.authority.tend_keys_once().await;
    first.store.arm(0, &[]);
    for _ in 0..100 {
        assert!(second.introspect(&strange, Consistency::MinimizeLatency).await.expect("answers").is_none());
    }
    assert_eq!(first.store.disarm().0.len(), 1);
}

/// Keys of a second algorithm are there before it is made the one that signs.
#[tokio::test(flavor = "multi_thread")]
async fn each_algorithm_has_one_active_key_and_rsa_comes_first() {
    let world = World::with(|policy| policy.keys.algorithms = [Algorithm::Rs256, Algorithm::Es256].into()).await;
    let views = keys(&world).await;
    let active: BTreeSet<_> =
        views.iter().filter(|key| key.state == KeyState::Active).map(|key| key.algorithm).collect();
    assert_eq!((active.len(), in_state(&views, KeyState::Active).len(), views.len()), (3, 3, 6));
    let set = world.authority.json_web_key_set("web").expect("a set");
    let types: Vec<_> = set.keys.iter().map(|key| key["kty"].as_str().expect("a type")).collect();
    assert_eq!(types, ["RSA", "RSA", "EC", "EC", "OKP", "OKP"]);
    let kids: BTreeSet<_> = set.keys.iter().map(|key| key["kid"].to_string()).collect();
    assert_eq!(kids.len(), 6);
    for key in &set.keys {
        for member in ["kty", "kid", "alg", "use"] {
            assert!(key[member].is_string(), "{member}");
        }
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert_eq!(key.get(private), None::<&Value>);
        }
    }
}
