//! Servers that run a realm file as it stands in `deploy/realms`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use token_authority::config::{Config, Environment, Flags};

use crate::backend::{Backend, Store};
use crate::test_server::TestServer;
use crate::wire::get;

pub(crate) fn realm_file(realm: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("deploy/realms/{realm}.toml"))
}

/// With that realm's file.
pub(crate) async fn start(realm: &str, store: Store) -> TestServer {
    start_with(realm, store, |_| {}).await
}

/// With that realm's file, and the configuration changed.
pub(crate) async fn start_with(realm: &str, store: Store, change: impl FnOnce(&mut Config)) -> TestServer {
    let configure = |config: &mut Config| {
        read(realm, config);
        change(config);
    };
    TestServer::start_on(Backend::of(store).await, realm, configure).await
}

/// Another of the same realm on another store of the same kind, which no other row touches.
pub(crate) async fn apart(server: &TestServer) -> TestServer {
    start(&server.realm(), server.backend().store()).await
}

/// Has a server take what a realm's file says. Where it listens and keeps its data is the test's choice.
pub(crate) fn read(realm: &str, config: &mut Config) {
    let flags = Flags { config: Some(realm_file(realm)), ..Flags::default() };
    let file = Config::load(flags, &Environment::default()).expect("a realm file");
    *config = Config {
        grpc: config.grpc,
        http: config.http,
        public_url: config.public_url.take(),
        store: config.store.clone(),
        store_safety: config.store_safety,
        encryption_key_file: config.encryption_key_file.take(),
        create_key: config.create_key,
        ..file
    };
}

/// The realm's issuer.
pub(crate) fn issuer(server: &TestServer) -> String {
    format!("http://{}/realms/{}", server.http(), server.realm())
}

/// What servers that have stopped had answered, by their realm.
static ENDED: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Stops a server of a row's own; its calls still count as the row's.
pub(crate) async fn stop(server: TestServer) {
    let (realm, answered) = (server.realm(), answered(&server).await);
    server.stop().await;
    *ENDED.lock().unwrap().entry(realm).or_default() += answered;
}

/// How many calls the server, and those of its realm before it, have answered by their own count.
pub(crate) async fn calls(server: &TestServer) -> u64 {
    let running = answered(server).await;
    running + ENDED.lock().unwrap().get(&server.realm()).copied().unwrap_or_default()
}

async fn answered(server: &TestServer) -> u64 {
    const COUNTS: [&str; 2] =
        ["rpc_server_call_duration_seconds_count{", "http_server_request_duration_seconds_count{"];
    let is_call = |line: &str| COUNTS.iter().any(|count| line.starts_with(count)) && !line.contains("\"/metrics\"");
    measured(server, is_call).await
}

/// The sum of those figures that a server tells of itself.
pub(crate) async fn measured(server: &TestServer, of: impl Fn(&str) -> bool) -> u64 {
    let metrics = get(server.http(), "/metrics").await.body;
    let figure = |line: &str| line.rsplit(' ').next().and_then(|figure| figure.parse::<u64>().ok());
    metrics.lines().filter(|line| of(line)).map(|line| figure(line).expect("a count")).sum()
}
