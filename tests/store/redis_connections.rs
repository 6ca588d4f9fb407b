//! Which connection to Redis a runtime's calls go over, and that none waits for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use token_authority::authority::ports::{Outcome, Store as _};
use token_authority::store::redis::{RedisStore, Topology};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::fixtures::{NOON, TurnedClock, commit, fresh_key, open_redis};
use super::redis_fleet::until;
use super::redis_server::{RedisServer, Reply};

const OPENED_WITHIN: Duration = Duration::from_secs(20);
/// Sooner than the driver gives up to connect.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);

/// The last command of each connection, by its number.
pub(crate) fn connections(redis: &RedisServer) -> BTreeMap<String, String> {
    let Reply::Bytes(Some(list)) = redis.run(&["CLIENT", "LIST", "TYPE", "NORMAL"]) else { panic!("no list") };
    let list = String::from_utf8(list).expect("text");
    let field = |line: &str, name: &str| {
        let found = line.split(' ').find_map(|field| field.strip_prefix(name).map(str::to_owned));
        found.unwrap_or_else(|| panic!("{name} in {line}"))
    };
    let all = list.lines().map(|line| (field(line, "id="), field(line, "cmd=")));
    all.filter(|(_, command)| command != "client|list").collect()
}

async fn commits(store: &RedisStore) -> bool {
    matches!(store.commit(&commit(&fresh_key(), None, b"kept")).await, Ok(Outcome::Committed(_)))
}

/// Runs it on a thread with a runtime of its own.
fn elsewhere(work: impl Future<Output = ()> + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_runtime_asks_goes_over_a_connection_of_its_own() {
    let redis = Arc::new(RedisServer::start().await);
    let store = open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await;
    let store = Arc::new(store);
    assert!(commits(&store).await);
    let common = connections(&redis);
    let (committed, has_committed) = oneshot::channel();
    let (end, ends) = oneshot::channel::<()>();
    let thread = elsewhere({
        let (store, redis, common) = (store.clone(), redis.clone(), common.clone());
        let work = {
            let store = store.clone();
            async move {
                until_settled(&store, &redis, &common).await;
                let _ = committed.send(());
                let _ = ends.await;
            }
        };
        async move { store.at_home(work).await }
    });
    has_committed.await.expect("it commits");

    store.ready().await.expect("ready");
    let asked = connections(&redis);
    let own: Vec<_> = asked.iter().filter(|(id, _)| !common.contains_key(*id)).collect();
    assert!(matches!(own[..], [(_, command)] if command == "get"), "who is ready has asked over each: {asked:?}");
    assert!(commits(&store).await);
    let mut after = connections(&redis);
    after.retain(|id, _| !common.contains_key(id));
    assert!(after.values().all(|command| command == "get"), "nobody else uses it: {after:?}");

    drop(end);
    thread.join().expect("it ended");
    until(|| connections(&redis).len() == common.len()).await;
    store.ready().await.expect("ready");
    store.close().await;
}

/// Commits until a commit goes over a connection that was not there before.
async fn until_settled(store: &RedisStore, redis: &RedisServer, before: &BTreeMap<String, String>) {
    let start = Instant::now();
    loop {
        assert!(commits(store).await);
        assert!(start.elapsed() < OPENED_WITHIN, "no commit went over a connection of its own");
        let own = |(id, command): (&String, &String)| !before.contains_key(id) && command == "evalsha";
        if connections(redis).iter().any(own) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_waits_for_no_connection_and_gets_one_as_soon_as_it_can() {
    let mut redis = RedisServer::start().await;
    let store = Arc::new(open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await);
    redis.pause();
    let (ended, has_ended) = oneshot::channel();
    let at_once = elsewhere({
        let store = store.clone();
        async move {
            store.at_home(async {}).await;
            let _ = ended.send(());
        }
    });
    let waited = timeout(GIVEN_UP_AFTER, has_ended).await;
    redis.resume();
    assert_eq!(waited, Ok(Ok(())), "it waited for Redis");
    at_once.join().expect("it ended");

    redis.kill9();
    let (refused, was_refused) = oneshot::channel();
    let (restarted, has_restarted) = oneshot::channel::<()>();
    let (end, ends) = oneshot::channel::<()>();
    let thread = elsewhere({
        let store = store.clone();
        let work = {
            let store = store.clone();
            async move {
                assert!(!commits(&store).await);
                let _ = refused.send(());
                has_restarted.await.expect("Redis is there again");
                while !commits(&store).await {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let _ = ends.await;
            }
        };
        async move { store.at_home(work).await }
    });
    was_refused.await.expect("it was refused");
    redis.restart().await;
    restarted.send(()).expect("it waits");
    let start = Instant::now();
    let asked = || connections(&redis).into_values().filter(|command| command == "get").count();
    while store.ready().await.is_err() || asked() < 2 {
        assert!(start.elapsed() < OPENED_WITHIN, "it opened no connection of its own");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(end);
    thread.join().expect("it commits in the end");
    store.close().await;
}
