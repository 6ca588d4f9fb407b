//! The ways into a Redis that an operator may close to others: TLS, users with passwords and few rights, a
//! socket in the file system; and what is said to whoever has no way in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use token_authority::authority::ports::{Outcome, Store as _};
use token_authority::store::redis::{OpenError, RedisStore, Safety, Topology};
use token_authority::system::SystemClock;

use super::fixtures::{Follower, SeededEntropy, fresh_key, position, revoking};
use super::operator::{Served, answer};
use super::redis_server::{RedisServer, Reply};

async fn open(url: &str) -> Result<RedisStore, OpenError> {
    let (clock, entropy) = (Arc::new(SystemClock::default()), SeededEntropy::named(url));
    RedisStore::open(Topology::Standalone, url, Safety::Required, clock, entropy).await
}

async fn refused(url: &str) -> String {
    open(url).await.expect_err("refused").to_string()
}

/// Everything that a server asks of its store.
async fn serves(url: &str) {
    let store = open(url).await.unwrap_or_else(|error| panic!("{error}"));
    let mut follower = Follower::of(&store).await;
    let first = revoking(&fresh_key(), None, b"first");
    let written = position(store.commit(&first).await);
    follower.reach(written).await;
    assert!(follower.known.contains(&first.revocations[0]));
    assert_eq!(*store.load(&first.key).await.expect("an answer").expect("a record").bytes, b"first");
    assert!(matches!(store.commit(&revoking(&first.key, None, b"second")).await, Ok(Outcome::Conflict)));
    store.ready().await.expect("ready");
    store.close().await;
}

/// An authority of the test's own, and a server certificate by it for some names.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { directory, issuer }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A Redis that speaks TLS at the port that is returned.
    async fn redis(&self, name: &str) -> (RedisServer, u16) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |file: &str| self.directory.path().join(file).display().to_string();
        std::fs::write(path("server.pem"), certificate.pem()).expect("a file");
        std::fs::write(path("server.key"), key.serialize_pem()).expect("a file");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it").port();
        let (certificate, key, authority) = (path("server.pem"), path("server.key"), path("ca.pem"));
        let port_text = port.to_string();
        let tls = ["--tls-port", &port_text, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let clients = ["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no", "--appendonly", "yes"];
        (RedisServer::start_with(&[tls, clients].concat()).await, port)
    }
}

fn over_tls(port: u16, authorities: &Path) -> String {
    format!("rediss://127.0.0.1:{port}?prefix=t&ca={}", authorities.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_and_a_stranger_is_not_believed() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (_redis, port) = authority.redis("127.0.0.1").await;
    serves(&over_tls(port, &authority.file())).await;
    let said = refused(&over_tls(port, &stranger.file())).await;
    assert!(said.contains("can't reach Redis") && said.to_lowercase().contains("certificate"), "{said}");
    // Not one of the system's authorities.
    let said = refused(&format!("rediss://127.0.0.1:{port}?prefix=t")).await;
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    let said = refused(&over_tls(port, Path::new("/nowhere/ca.pem"))).await;
    assert!(said.contains("ca=/nowhere/ca.pem"), "{said}");
    let empty = authority.directory.path().join("empty.pem");
    std::fs::write(&empty, "").expect("a file");
    let said = refused(&over_tls(port, &empty)).await;
    assert!(said.contains("empty.pem: it holds no certificate"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name_and_a_port_without_tls_are_refused() {
    let authority = Authority::new();
    let (redis, port) = authority.redis("redis.test").await;
    let said = refused(&over_tls(port, &authority.file())).await;
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    for url in [over_tls(redis.port(), &authority.file()), format!("redis://127.0.0.1:{port}?prefix=t")] {
        let said = refused(&url).await;
        assert!(said.contains("TLS in the URL"), "{said}");
    }
    assert_eq!(redis.keys(), Vec::<Vec<u8>>::new());
}

/// What `deploy/token-authority.toml` says that a user needs.
const RIGHTS: &[&str] = &[
    "~t:*",
    "&t:log",
    "&t:peers",
    "+@connection",
    "+info",
    "+time",
    "+get",
    "+set",
    "+getrange",
    "+eval",
    "+evalsha",
    "+zadd",
    "+zrange",
    "+zremrangebyscore",
    "+pttl",
    "+pexpire",
    "+publish",
    "+subscribe",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_its_own_keys_alone_suffices() {
    let redis = RedisServer::start().await;
    let rights = [&["ACL", "SETUSER", "authority", "on", ">planted:p@ss"], RIGHTS].concat();
    assert_eq!(redis.run(&rights), Reply::Text("OK".to_owned()));
    redis.run(&["ACL", "SETUSER", "default", "off"]);
    let url = |user: &str, password: &str| format!("redis://{user}{password}127.0.0.1:{}?prefix=t", redis.port());
    serves(&url("authority", ":planted%3Ap%40ss@")).await;
    for (user, password) in [("authority", ":wrong@"), ("nobody", ":planted%3Ap%40ss@"), ("", "")] {
        let said = refused(&url(user, password)).await;
        assert!(said.contains("user, password") && !said.contains("planted") && !said.contains("wrong"), "{said}");
    }
    // Another's keys.
    let said = refused(&format!("redis://authority:planted%3Ap%40ss@127.0.0.1:{}?prefix=other", redis.port())).await;
    assert!(said.contains("NOPERM") || said.contains("No permissions"), "{said}");
    let documented = std::fs::read_to_string("deploy/token-authority.toml").expect("the reference configuration");
    let rule = RIGHTS.join(" ").replace("t:", "ta:");
    let documented = documented.lines().map(|line| line.trim_start_matches("# ")).collect::<Vec<_>>().join(" ");
    assert!(documented.contains(&rule), "{rule}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_serves_as_a_port_does() {
    let directory = TempDir::new().expect("a directory");
    let socket = directory.path().join("redis.sock").display().to_string();
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--unixsocket", &socket]).await;
    serves(&format!("redis+unix://{socket}?prefix=t")).await;
    assert!(!redis.keys().is_empty());
    let said = refused(&format!("redis+unix://{socket}.none?prefix=t")).await;
    assert!(said.contains("redis.sock.none"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_over_tls_with_a_password_is_copied_and_served() {
    let (authority, directory) = (Authority::new(), TempDir::new().expect("a directory"));
    let (redis, port) = authority.redis("127.0.0.1").await;
    redis.run(&["CONFIG", "SET", "requirepass", "planted"]);
    let store = format!("embedded:{}", directory.path().join("store").display());
    let mut server = Served::on(&store, None).await;
    let pair = server.login("ann").await;
    server.stop().await;
    let url = over_tls(port, &authority.file()).replace("://", "://:planted@");
    let by_file = directory.path().join("url");
    std::fs::write(&by_file, &url).expect("a file");
    answer(&["store", "copy", &store, &format!("@{}", by_file.display()), "--json"]);
    let mut server = Served::on(&url, Some(&directory.path().join("store/kek"))).await;
    assert!(server.is_active(&pair).await);
    server.stop().await;
}
