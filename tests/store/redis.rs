//! What the store in Redis has to prove beyond the suite: what stands in Redis, what a crash leaves,
//! which Redis is refused, and that no entry of the log is lost.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use token_authority::authority::ports::{Commit, LogUpdate, Outcome, RecordKey, Store, StoreError};
use token_authority::domain::ids::SubjectKey;
use token_authority::domain::revocation::Owner;
use token_authority::store::redis::{OpenError, RedisStore, Safety, Topology};
use token_authority::store::sealing::SealedStore;
use token_authority::system::SystemClock;
use tokio::sync::mpsc;

use super::fixtures::{
    Follower, NOON, SeededEntropy, TurnedClock, commit, fresh, fresh_key, kek, open_redis, position, realm, revocation,
    revoking,
};
use super::redis_server::{RedisServer, Reply};

const PLANTED: &[u8] = b"planted-secret-7e4f0c";

async fn open(server: &RedisServer, clock: &Arc<TurnedClock>) -> RedisStore {
    open_redis(Topology::Standalone, &server.url("t"), clock).await
}

fn contains(bytes: &[u8], planted: &[u8]) -> bool {
    bytes.windows(planted.len()).any(|window| window == planted)
}

/// One subject's record with an expiry, one with revocations, and what every store has.
async fn fill(store: &dyn Store) -> Vec<Commit> {
    let mut kept = commit(&fresh_key(), None, PLANTED);
    kept.expires = Some(NOON + Duration::from_secs(3600));
    let mut ended = revoking(&fresh_key(), None, PLANTED);
    ended.expires = Some(NOON + Duration::from_secs(3600));
    let commits = vec![kept, ended, commit(&RecordKey::realm(realm("web")), None, PLANTED)];
    for commit in &commits {
        assert!(matches!(store.commit(commit).await, Ok(Outcome::Committed(_))));
    }
    commits
}

#[tokio::test]
async fn a_dump_shows_nothing_planted() {
    let server = RedisServer::start().await;
    let bare: Arc<dyn Store> = Arc::new(open(&server, &TurnedClock::at(NOON)).await);
    let sealed = SealedStore::open(bare, &[kek(1)], &*SeededEntropy::named("vault")).await.expect("an open vault");
    let commits = fill(&sealed).await;
    let dump = server.dump();
    assert!(dump.len() >= 7, "{} keys", dump.len());
    for (key, (value, _)) in &dump {
        assert!(!contains(key, PLANTED) && !contains(value, PLANTED), "{}", String::from_utf8_lossy(key));
    }
    // Compression would hide it, so a bare record has to show what is looked for.
    open(&server, &TurnedClock::at(NOON)).await.commit(&commit(&fresh_key(), None, PLANTED)).await.expect("an outcome");
    assert!(server.dump().values().any(|(value, _)| contains(value, PLANTED)));
    assert_eq!(*sealed.load(&commits[0].key).await.expect("an answer").expect("a record").bytes, PLANTED);
}

#[tokio::test]
async fn every_key_with_subject_data_expires() {
    let server = RedisServer::start().await;
    let store: Arc<dyn Store> = Arc::new(open(&server, &TurnedClock::at(NOON)).await);
    let sealed = SealedStore::open(store, &[kek(1)], &*SeededEntropy::named("vault")).await.expect("an open vault");
    fill(&sealed).await;
    let mut with_ttl = 0;
    for key in server.keys() {
        let Ok(Reply::Integer(ttl)) = server.run_bytes(&[b"PTTL", &key]) else { panic!("no TTL") };
        let name = String::from_utf8(key).expect("a readable key");
        let (_, kind) = name.split_once("}:").expect("a partition");
        // The list in `store::redis::layout`.
        let none = kind == "head" || kind == "vault" || kind == "layout" || kind.starts_with("r:");
        assert_eq!(ttl == -1, none, "{name}: {ttl}");
        // At least as long as it counts, and a minute more.
        assert!(none || ttl > 3_600_000, "{name}: {ttl}");
        with_ttl += u32::from(!none);
    }
    assert_eq!(with_ttl, 3, "two records and a log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let mut server = RedisServer::start_durable().await;
    let store = open(&server, &TurnedClock::at(NOON)).await;
    let mut acknowledged = Vec::new();
    let mut unknown = 0;
    for _ in 0..3 {
        let writers = join_all((0..8).map(|_| write_until_it_fails(&store)));
        let kill = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.kill9();
        };
        let (ended, ()) = join(writers, kill).await;
        server.restart().await;
        for (done, last, error) in ended {
            acknowledged.extend(done);
            assert!(matches!(error, StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_)), "{error:?}");
            unknown += u32::from(matches!(error, StoreError::OutcomeUnknown(_)));
            acknowledged.push(again_until_committed(&store, last).await);
        }
    }
    let follower = Follower::of(&store).await;
    for commit in &acknowledged {
        let stored = store.load(&commit.key).await.expect("an answer").expect("an acknowledged record");
        assert_eq!((stored.version, &stored.bytes), (commit.id, &commit.bytes));
        assert!(follower.known.contains(&commit.revocations[0]), "an acknowledged revocation");
    }
    println!("3 kills: {} commits acknowledged, {unknown} outcomes unknown, 0 lost", acknowledged.len());
    assert!(acknowledged.len() > 100);
}

/// What was acknowledged, and the commit that was not.
async fn write_until_it_fails(store: &RedisStore) -> (Vec<Commit>, Commit, StoreError) {
    let mut done = Vec::new();
    loop {
        let commit = revoking(&fresh_key(), None, &fresh());
        match store.commit(&commit).await {
            Ok(Outcome::Committed(_)) => done.push(commit),
            Ok(Outcome::Conflict) => panic!("a conflict on a fresh key"),
            Err(error) => return (done, commit, error),
        }
    }
}

/// The same commit, until the store is back.
async fn again_until_committed(store: &RedisStore, commit: Commit) -> Commit {
    let sent = async {
        while !matches!(store.commit(&commit).await, Ok(Outcome::Committed(_))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), sent).await.expect("committed at last");
    commit
}

#[tokio::test]
async fn an_unsafe_redis_is_refused_with_the_setting() {
    async fn opened(server: &RedisServer, safety: Safety) -> Result<RedisStore, OpenError> {
        let entropy = SeededEntropy::named("checks");
        RedisStore::open(Topology::Standalone, &server.url("t"), safety, Arc::new(SystemClock::default()), entropy)
            .await
    }
    opened(&RedisServer::start().await, Safety::Required).await.expect("a safe Redis");
    let evicting = ["--appendonly", "yes", "--maxmemory-policy", "volatile-lru"];
    for (options, named) in [(&evicting[..], "maxmemory-policy noeviction"), (&[], "appendonly yes")] {
        let server = RedisServer::start_with(options).await;
        let refused = opened(&server, Safety::Required).await.expect_err("refused").to_string();
        assert!(refused.contains(named) && refused.contains("--accept-unsafe-store"), "{refused}");
        assert_eq!(server.keys(), Vec::<Vec<u8>>::new(), "nothing is written before the checks");
        opened(&server, Safety::Waived).await.expect("the operator's choice");
    }
    let server = RedisServer::start().await;
    let url = server.url("t");
    let (clock, entropy) = (TurnedClock::at(NOON), SeededEntropy::named("checks"));
    let refused = RedisStore::open(Topology::Standalone, &url, Safety::Required, clock, entropy).await;
    assert!(matches!(refused, Err(OpenError::Unsafe(problems)) if problems[0].contains("clock")));
    server.run(&["SET", "t:{0}:layout", "2 1024"]);
    assert!(matches!(opened(&server, Safety::Required).await, Err(OpenError::Layout { .. })));
}

#[tokio::test]
async fn a_wrong_address_is_an_error_and_not_a_wait() {
    let url = "redis://:secret@127.0.0.1:1";
    let (clock, entropy) = (TurnedClock::at(NOON), SeededEntropy::named("nobody"));
    let refused = RedisStore::open(Topology::Standalone, url, Safety::Required, clock, entropy).await;
    let text = refused.expect_err("nobody there").to_string();
    assert!(text.contains("127.0.0.1:1") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_full_redis_takes_revocations_and_nothing_else() {
    let server = RedisServer::start().await;
    let store = open(&server, &TurnedClock::at(NOON)).await;
    let first = commit(&fresh_key(), None, b"before");
    store.commit(&first).await.expect("an outcome");
    server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..2 {
        assert!(matches!(store.commit(&commit(&fresh_key(), None, b"")).await, Err(StoreError::Full(_))));
        // The server may have to learn the scripts anew, full as it is.
        server.run(&["SCRIPT", "FLUSH"]);
    }
    let mut last = first.id;
    for _ in 0..3 {
        let revocation = revoking(&first.key, Some(last), b"ended");
        assert!(matches!(store.commit(&revocation).await, Ok(Outcome::Committed(_))));
        assert!(Follower::of(&store).await.known.contains(&revocation.revocations[0]));
        last = revocation.id;
    }
    assert_eq!(*store.load(&first.key).await.expect("an answer").expect("a record").bytes, b"ended");
}

#[tokio::test]
async fn entries_that_were_never_published_arrive_all_the_same() {
    let server = RedisServer::start().await;
    // Redis lets this user run scripts, but publish on no channel and listen to none.
    server.run(&["ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "resetchannels"]);
    let clock = TurnedClock::at(NOON);
    let mute = format!("redis://mute:pw@127.0.0.1:{}?prefix=t", server.port());
    let mute = open_redis(Topology::Standalone, &mute, &clock).await;
    let listening = open(&server, &clock).await;
    let mut followers = [Follower::of(&listening).await, Follower::of(&mute).await];
    for (round, store) in [&mute, &listening, &mute, &listening].into_iter().enumerate() {
        // Whoever listens is cut off, and misses what is published before it listens again.
        server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        let mut commit = commit(&fresh_key(), None, b"");
        commit.revocations = (0..5).map(|_| revocation(fresh())).collect();
        let position = position(store.commit(&commit).await);
        for follower in &mut followers {
            follower.reach(position).await;
            assert!(commit.revocations.iter().all(|entry| follower.known.contains(entry)), "round {round}");
        }
    }
}

#[tokio::test]
async fn a_log_that_went_back_is_read_anew_and_what_it_lost_is_told() {
    let server = RedisServer::start().await;
    let store = open(&server, &TurnedClock::at(NOON)).await;
    let key = RecordKey::subject(realm("web"), SubjectKey([7; 16]));
    let first = revoking(&key, None, b"");
    let early = position(store.commit(&first).await);
    let second = revoking(&key, Some(first.id), b"");
    let late = position(store.commit(&second).await);
    let mut updates = store.follow().await.expect("a stream");
    let mut heads = Vec::new();
    while heads.len() < 256 {
        let LogUpdate::Snapshot { head, .. } = next_change(&mut updates).await else { panic!("no snapshot") };
        heads.push(head);
    }
    assert!(heads.contains(&late));
    // As after a failover to a replica that lacked the last write.
    server.run(&["ZREMRANGEBYRANK", "t:{7}:log", "-1", "-1"]);
    server.run(&["SET", "t:{7}:head", &format!("{} {}", early.number, early.tag)]);
    let update = next_change(&mut updates).await;
    assert!(matches!(update, LogUpdate::Snapshot { head, .. } if head == early), "{update:?}");
    let owner = Owner { realm: realm("web"), subject: Some(SubjectKey([7; 16])) };
    let entries = vec![(owner, second.revocations[0].clone())];
    assert_eq!(next_change(&mut updates).await, LogUpdate::Lost { entries });
}

#[tokio::test]
async fn an_entry_that_only_its_committer_heard_of_is_told_when_it_is_lost() {
    for another_follows in [false, true] {
        let server = RedisServer::start().await;
        // What this user commits is not published.
        server.run(&["ACL", "SETUSER", "mute", "on", ">pw", "~*", "&*", "+@all", "-publish"]);
        let mute = format!("redis://mute:pw@127.0.0.1:{}?prefix=t", server.port());
        let clock = TurnedClock::at(NOON);
        let store = open_redis(Topology::Standalone, &mute, &clock).await;
        let key = RecordKey::subject(realm("web"), SubjectKey([7; 16]));
        let first = revoking(&key, None, b"");
        let early = position(store.commit(&first).await);
        let mut updates = store.follow().await.expect("a stream");
        for _ in 0..256 {
            next_change(&mut updates).await;
        }
        // While one head can't be read, none is compared.
        server.run(&["SET", "t:{9}:head", "?"]);
        let second = revoking(&key, Some(first.id), b"");
        store.commit(&second).await.expect("commits");
        server.run(&["ZREMRANGEBYRANK", "t:{7}:log", "-1", "-1"]);
        server.run(&["SET", "t:{7}:head", &format!("{} {}", early.number, early.tag)]);
        let mut now = early;
        if another_follows {
            let mut id = [7; 16];
            id[15] = 0;
            let other = revoking(&RecordKey::subject(realm("web"), SubjectKey(id)), None, b"");
            now = position(open(&server, &clock).await.commit(&other).await);
        } else {
            server.run(&["DEL", "t:{9}:head"]);
        }
        let update = next_change(&mut updates).await;
        assert!(matches!(update, LogUpdate::Snapshot { head, .. } if head == now), "{update:?}");
        let owner = Owner { realm: realm("web"), subject: Some(SubjectKey([7; 16])) };
        let entries = vec![(owner, second.revocations[0].clone())];
        assert_eq!(next_change(&mut updates).await, LogUpdate::Lost { entries });
    }
}

#[tokio::test]
async fn what_was_lost_is_told_after_an_outage_that_outlasts_it() {
    let server = RedisServer::start().await;
    let clock = TurnedClock::at(NOON);
    let store = open(&server, &clock).await;
    let key = RecordKey::subject(realm("web"), SubjectKey([7; 16]));
    let first = revoking(&key, None, b"");
    let early = position(store.commit(&first).await);
    let second = revoking(&key, Some(first.id), b"");
    store.commit(&second).await.expect("commits");
    let mut updates = store.follow().await.expect("a stream");
    for _ in 0..256 {
        next_change(&mut updates).await;
    }
    // While one head can't be read, the log is not seen whole.
    server.run(&["SET", "t:{9}:head", "?"]);
    clock.pass(Duration::from_secs(2 * 86_400));
    server.run(&["ZREMRANGEBYRANK", "t:{7}:log", "-1", "-1"]);
    server.run(&["SET", "t:{7}:head", &format!("{} {}", early.number, early.tag)]);
    server.run(&["DEL", "t:{9}:head"]);
    let update = next_change(&mut updates).await;
    assert!(matches!(update, LogUpdate::Snapshot { head, .. } if head == early), "{update:?}");
    let owner = Owner { realm: realm("web"), subject: Some(SubjectKey([7; 16])) };
    let entries = vec![(owner, second.revocations[0].clone())];
    assert_eq!(next_change(&mut updates).await, LogUpdate::Lost { entries });
}

/// The next update that tells more than that nothing is missing.
async fn next_change(updates: &mut mpsc::Receiver<LogUpdate>) -> LogUpdate {
    loop {
        let update = tokio::time::timeout(Duration::from_secs(20), updates.recv()).await;
        match update.expect("in time").expect("an open stream") {
            LogUpdate::Confirmed { .. } => {}
            change => return change,
        }
    }
}

#[tokio::test]
async fn entries_leave_the_log_when_they_no_longer_matter() {
    let server = RedisServer::start().await;
    let clock = TurnedClock::at(NOON);
    let store = open(&server, &clock).await;
    let key = RecordKey::subject(realm("web"), SubjectKey([9; 16]));
    let first = revoking(&key, None, b"");
    store.commit(&first).await.expect("an outcome");
    clock.pass(Duration::from_secs(86_400 + 61));
    let mut second = revoking(&key, Some(first.id), b"");
    second.revocations[0].until = NOON + Duration::from_secs(3 * 86_400);
    let head = position(store.commit(&second).await);
    assert_eq!(server.run(&["ZCARD", "t:{9}:log"]), Reply::Integer(1));
    let follower = Follower::of(&store).await;
    assert_eq!((follower.known.len(), follower.head(9)), (1, Some(head)));
}

#[tokio::test]
async fn damage_is_an_error_and_never_an_absence() {
    let server = RedisServer::start().await;
    let store = open(&server, &TurnedClock::at(NOON)).await;
    let key = RecordKey::subject(realm("web"), SubjectKey([0; 16]));
    server.run(&["SET", "t:{0}:s:web:AAAAAAAAAAAAAAAAAAAAAA", "short"]);
    assert!(matches!(store.load(&key).await, Err(StoreError::Corrupt(_))));
    assert!(matches!(store.commit(&commit(&key, None, b"")).await, Err(StoreError::Corrupt(_))));
    server.run(&["ZADD", "t:{1}:log", "1", "1 2 3 4 5"]);
    assert!(matches!(store.follow().await, Err(StoreError::Corrupt(_))));
}
