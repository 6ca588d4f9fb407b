//! `store copy` as operators run it: a server on the copy serves the same sessions, whichever kinds of
//! store the two are, and nothing that is half a store passes for one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use token_authority::authority::ports::{Outcome, RecordKey, RecordKind, Store};
use token_authority::domain::ids::SubjectKey;
use token_authority::store::copy::{CopyError, Side, copy};
use token_authority::store::redis::Topology;
use token_authority::store::scan::{Row, Scan};
use token_authority::store::sealing::SealedStore;
use tokio::sync::mpsc;

use super::fixtures::{
    Follower, NOON, SeededEntropy, TurnedClock, commit, fresh, fresh_key, kek, open, open_redis, realm, revocation,
    revoking,
};
use super::operator::{Served, answer, key_file, refusal};
use super::redis_fleet::RedisFleet;
use super::redis_server::{RedisServer, Reply};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_go_on_wherever_the_store_is_copied_to() {
    let directory = TempDir::new().expect("a directory");
    let (redis, sentinel, cluster) = tokio::join!(RedisServer::start(), RedisFleet::sentinel(), RedisFleet::cluster());
    let embedded = |name: &str| format!("embedded:{}", directory.path().join(name).display());
    let kek = key_file(&directory, "kek");
    let other = key_file(&directory, "other-kek");
    // Where it stands, the key file that a server there is given, and what it is called.
    let stations = [
        (embedded("first"), None, "embedded"),
        (redis.url("ta"), Some(kek.as_path()), "standalone"),
        (cluster.url("ta"), Some(&*other), "cluster"),
        (sentinel.url("ta"), Some(&*other), "sentinel"),
        (embedded("last"), None, "embedded"),
    ];
    let mut server = Served::on(&stations[0].0, None).await;
    let mut mine = server.login("ann").await;
    let kept = server.login("ben").await;
    let (stolen, ended) = (server.login("cat").await, server.login("dan").await);
    let used = server.refresh(&stolen).await.expect("refreshed");
    server.refresh(&used).await.expect("refreshed");
    server.revoke(&ended).await;
    server.stop().await;
    for pair in stations.windows(2) {
        let [(from, from_key, _), (to, to_key, topology)] = pair else { unreachable!("windows of two") };
        let mut arguments = vec!["store", "copy", from, to, "--json"];
        let named = [("--key-file", from_key), ("--to-key-file", to_key)];
        for (flag, key) in named {
            if let Some(key) = key {
                arguments.extend([flag, key.to_str().expect("a readable path")]);
            }
        }
        let copied = answer(&arguments);
        assert_eq!(
            (&copied["realms"], &copied["subjects"], &copied["revocations"]),
            (&1.into(), &4.into(), &1.into()),
            "{to}"
        );

        let told = answer(&["store", "status", "--store", to, "--json"]);
        assert_eq!((&told["topology"], &told["subjects"]), (&(*topology).into(), &4.into()), "{told}");
        let primaries = if *topology == "cluster" { 3 } else { 1 };
        assert_eq!(told["parts"].as_array().map(Vec::len), Some(primaries), "{told}");

        let mut server = Served::on(to, *to_key).await;
        assert!(server.is_active(&mine).await && server.is_active(&kept).await, "{to}");
        let next = server.refresh(&mine).await.expect("refreshed");
        assert_eq!(next.session_id, mine.session_id);
        assert!(!server.is_active(&ended).await && server.refresh(&ended).await.is_err(), "{to}");
        mine = next;
        server.stop().await;
        // What was refused already is on the way back too.
        assert!(refusal(&arguments).contains("not empty"), "{to}");
    }
    let mut server = Served::on(&stations[4].0, None).await;
    let replayed = server.refresh(&stolen).await.expect_err("a replay, known after four moves");
    assert!(replayed.message().contains("used"), "{replayed:?}");
    server.stop().await;
    let mut source = Served::on(&stations[0].0, None).await;
    assert!(source.is_active(&kept).await && !source.is_active(&ended).await, "the source is as it was");
    source.stop().await;
}

async fn rows(store: &dyn Scan) -> HashMap<RecordKey, Row> {
    let (rows, mut received) = mpsc::channel::<Row>(16);
    let collected = async {
        let mut all = HashMap::new();
        while let Some(row) = received.recv().await {
            all.insert(row.key.clone(), row);
        }
        all
    };
    let (scanned, all) = futures::future::join(store.scan(rows), collected).await;
    scanned.expect("scanned");
    all
}

/// A sealed store on top of another, with some of everything in it.
async fn filled(store: &Arc<dyn Scan>) -> SealedStore {
    let below: Arc<dyn Store> = store.clone();
    let sealed = SealedStore::open(below, &[kek(1)], &*SeededEntropy::named("vault")).await.expect("an open vault");
    for number in 0..700 {
        let mut one = commit(&fresh_key(), None, &fresh());
        one.expires = (number % 2 == 0).then_some(NOON + Duration::from_secs(3600 + number));
        assert!(matches!(sealed.commit(&one).await, Ok(Outcome::Committed(_))));
    }
    for _ in 0..3 {
        let mut used = commit(&RecordKey::client_assertion(realm("web"), fresh()), None, b"");
        used.expires = Some(NOON + Duration::from_secs(3600));
        assert!(matches!(sealed.commit(&used).await, Ok(Outcome::Committed(_))));
    }
    let mut last = commit(&RecordKey::realm(realm("web")), None, b"realm");
    // More than go in one step.
    last.revocations = (0..6000).map(|_| revocation(fresh())).collect();
    assert!(matches!(sealed.commit(&last).await, Ok(Outcome::Committed(_))));
    sealed
}

async fn copied_whole(from: Arc<dyn Scan>, to: Arc<dyn Scan>, clock: &Arc<TurnedClock>) {
    filled(&from).await;
    let before = rows(&*from).await;
    let (from, to) = (Side { store: from, key: kek(1) }, Side { store: to, key: kek(2) });
    let entropy = SeededEntropy::named("copy");
    let copied = copy(&from, &to, &**clock, &*entropy).await.expect("copied");
    assert_eq!((copied.realms, copied.subjects, copied.revocations), (1, 700, 6000));
    assert_eq!(rows(&*from.store).await, before, "the source is as it was");
    let mut after = rows(&*to.store).await;
    let below: Arc<dyn Store> = to.store.clone();
    SealedStore::open(below, &[kek(1)], &*entropy).await.expect_err("another key");
    let below: Arc<dyn Store> = to.store.clone();
    let opened = SealedStore::open(below, &[kek(2)], &*entropy).await.expect("its own key");
    for (key, row) in before.iter().filter(|(key, _)| key.kind() != RecordKind::Vault) {
        // Place, version, bytes and expiry.
        assert_eq!(after.remove(key).as_ref(), Some(row));
        assert!(opened.load(key).await.expect("opens").is_some());
    }
    assert_eq!(after.len(), 1, "the vault");
    let entries =
        async |side: &Side| -> HashSet<_> { side.store.entries().await.expect("a log").into_iter().collect() };
    assert_eq!(entries(&to).await, entries(&from).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_and_entry_keeps_its_place_version_and_expiry() {
    let (redis, directory, clock) =
        (RedisServer::start().await, TempDir::new().expect("a directory"), TurnedClock::at(NOON));
    let embedded = |name: &str| Arc::new(open(&directory.path().join(name), &clock));
    let on_redis = async |prefix: &str| Arc::new(open_redis(Topology::Standalone, &redis.url(prefix), &clock).await);
    copied_whole(embedded("a"), on_redis("a").await, &clock).await;
    copied_whole(on_redis("b").await, embedded("b"), &clock).await;
    copied_whole(on_redis("c").await, on_redis("d").await, &clock).await;
    for key in redis.keys().into_iter().filter(|key| key.starts_with(b"d:") && key.ends_with(b":log")) {
        let key = String::from_utf8(key).expect("a name");
        assert_ne!(redis.run(&["PTTL", &key]), Reply::Integer(-1), "{key}");
    }
}

/// Failover repair knows an entry by its partition and its owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_go_to_the_partition_of_the_record_that_they_name() {
    let (redis, directory, clock) =
        (RedisServer::start().await, TempDir::new().expect("a directory"), TurnedClock::at(NOON));
    let from: Arc<dyn Scan> = Arc::new(open(directory.path(), &clock));
    let below: Arc<dyn Store> = from.clone();
    let sealed = SealedStore::open(below, &[kek(1)], &*SeededEntropy::named("vault")).await.expect("an open vault");
    let subject = |first| RecordKey::subject(realm("web"), SubjectKey([first; 16]));
    let mut gone = revoking(&subject(9), None, b"gone");
    gone.expires = Some(NOON + Duration::from_secs(5));
    let kept = [&subject(7), &subject(200), &RecordKey::realm(realm("web"))].map(|key| revoking(key, None, b"kept"));
    for one in kept.iter().chain([&gone]) {
        sealed.commit(one).await.expect("an outcome");
    }
    clock.pass(Duration::from_secs(5));
    let to: Arc<dyn Scan> = Arc::new(open_redis(Topology::Standalone, &redis.url("to"), &clock).await);
    let (from, to) = (Side { store: from, key: kek(1) }, Side { store: to, key: kek(1) });
    copy(&from, &to, &*clock, &*SeededEntropy::named("copy")).await.expect("copied");

    let expected = kept.iter().map(|one| (one.key.owner(), one.revocations[0].clone()));
    let expected: HashSet<_> = expected.chain([(None, gone.revocations[0].clone())]).collect();
    assert_eq!(to.store.entries().await.expect("a log").into_iter().collect::<HashSet<_>>(), expected);
    for (partition, entries) in [(7, 1), (200, 1), (0, 2), (9, 0)] {
        let log = format!("to:{{{partition}}}:log");
        assert_eq!(redis.run(&["ZCARD", &log]), Reply::Integer(entries), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_stays_behind() {
    let (directory, clock) = (TempDir::new().expect("a directory"), TurnedClock::at(NOON));
    let from: Arc<dyn Scan> = Arc::new(open(&directory.path().join("from"), &clock));
    let sealed = filled(&from).await;
    let mut gone = revoking(&fresh_key(), None, b"gone");
    gone.expires = Some(NOON + Duration::from_secs(5));
    gone.revocations[0].until = NOON + Duration::from_secs(5);
    sealed.commit(&gone).await.expect("an outcome");
    clock.pass(Duration::from_secs(5));
    let to: Arc<dyn Scan> = Arc::new(open(&directory.path().join("to"), &clock));
    let (from, to) = (Side { store: from, key: kek(1) }, Side { store: to, key: kek(1) });
    let copied = copy(&from, &to, &*clock, &*SeededEntropy::named("copy")).await.expect("copied");
    assert_eq!((copied.subjects, copied.revocations), (700, 6000));
    assert!(!Follower::of(&*to.store).await.known.contains(&gone.revocations[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_source_that_changes_is_copied_again_and_then_refused() {
    let (redis, clock) = (RedisServer::start().await, TurnedClock::at(NOON));
    let store = async |prefix: &str| Arc::new(open_redis(Topology::Standalone, &redis.url(prefix), &clock).await);
    let from: Arc<dyn Scan> = store("from").await;
    let sealed = filled(&from).await;
    let (source, destination) = (Side { store: from, key: kek(1) }, Side { store: store("to").await, key: kek(1) });
    let entropy = SeededEntropy::named("copy");
    let busy = async {
        let key = fresh_key();
        let mut last = None;
        loop {
            let next = revoking(&key, last, &fresh());
            last = Some(next.id);
            sealed.commit(&next).await.expect("an outcome");
        }
    };
    let refused = tokio::select! {
        ended = copy(&source, &destination, &*clock, &*entropy) => ended.expect_err("it never stands still"),
        () = busy => unreachable!("it ends with the copy"),
    };
    assert!(matches!(refused, CopyError::Changing), "{refused}");
    // Half a store is none, and is not taken for an empty one.
    let below: Arc<dyn Store> = destination.store.clone();
    let unfinished = SealedStore::open(below, &[kek(1)], &*entropy).await.expect_err("no vault").to_string();
    assert!(unfinished.contains("not finished"), "{unfinished}");
    let again = copy(&source, &destination, &*clock, &*entropy).await.expect_err("not empty");
    assert!(matches!(again, CopyError::NotEmpty), "{again}");
    // One change while it is read is copied too.
    let destination = Side { store: store("third").await, key: kek(1) };
    let late = revoking(&fresh_key(), None, b"late");
    let (copied, _) =
        futures::future::join(copy(&source, &destination, &*clock, &*entropy), sealed.commit(&late)).await;
    copied.expect("copied at last");
    assert!(destination.store.load(&late.key).await.expect("an answer").is_some());
    assert!(Follower::of(&*destination.store).await.known.contains(&late.revocations[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_and_wrong_keys_end_a_copy() {
    let (directory, clock, entropy) =
        (TempDir::new().expect("a directory"), TurnedClock::at(NOON), SeededEntropy::named("copy"));
    let store = |name: &str| -> Arc<dyn Scan> { Arc::new(open(&directory.path().join(name), &clock)) };
    let from = store("from");
    filled(&from).await;
    let (wrong, to) = (Side { store: from.clone(), key: kek(9) }, Side { store: store("to"), key: kek(1) });
    let refused = copy(&wrong, &to, &*clock, &*entropy).await.expect_err("refused").to_string();
    assert!(refused.contains("wrong key-encryption key"), "{refused}");
    assert_eq!(rows(&*to.store).await, HashMap::new(), "nothing was written");
    from.commit(&commit(&fresh_key(), None, b"not sealed")).await.expect("an outcome");
    let source = Side { store: from, key: kek(1) };
    let damaged = copy(&source, &to, &*clock, &*entropy).await.expect_err("refused");
    assert!(matches!(damaged, CopyError::Source(_)), "{damaged}");
    let nothing = Side { store: store("nothing"), key: kek(1) };
    let refused = copy(&nothing, &Side { store: store("other"), key: kek(1) }, &*clock, &*entropy).await;
    assert!(matches!(refused, Err(CopyError::Absent)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_copy_says_what_to_do_and_shows_no_password() {
    let (redis, directory) = (RedisServer::start().await, TempDir::new().expect("a directory"));
    let store = format!("embedded:{}", directory.path().join("store").display());
    let nowhere = format!("embedded:{}", directory.path().join("nowhere").display());
    let server = Served::on(&store, None).await;
    let locked = refusal(&["store", "copy", &store, &redis.url("ta")]);
    assert!(locked.contains("in use by another server"), "{locked}");
    let locked = refusal(&["store", "status", "--store", &store]);
    assert!(locked.contains("in use by another server"), "{locked}");
    server.stop().await;
    assert!(refusal(&["store", "copy", &nowhere, &redis.url("ta")]).contains("no store"));
    assert!(!directory.path().join("nowhere").exists(), "none is made");
    assert!(refusal(&["store", "status", "--store", &redis.url("none")]).contains("no store"));
    assert_eq!(redis.keys(), Vec::<Vec<u8>>::new(), "a refused source leaves the destination alone");
    assert!(refusal(&["store", "copy", &redis.url("none"), &nowhere]).contains("no store"));
    redis.run(&["CONFIG", "SET", "requirepass", "planted-password"]);
    let secret = directory.path().join("url");
    std::fs::write(&secret, format!("redis://:planted-password@127.0.0.1:{}?prefix=new\n", redis.port()))
        .expect("a file");
    let by_file = format!("@{}", secret.display());
    assert_eq!(answer(&["store", "copy", &store, &by_file, "--json"])["realms"], 1);
    let said = refusal(&["store", "copy", &store, &by_file]);
    assert!(said.contains("not empty") && !said.contains("planted"), "{said}");
}
