//! The SDK's verifier while what it hangs on fails: whatever breaks, it accepts no revoked token later than
//! `max_staleness` after the revocation was answered.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;
use token_authority::app::Server;
use token_authority::client::{AuthorityChannel, ChannelOptions, Verifier, WhenStale};
use token_authority::config::{Config, CreateKey, StoreUrl};
use token_authority::domain::algorithm::Algorithm;
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::time::Instant;

use super::redis_fleet::RedisFleet;
use super::redis_server::RedisServer;

const ISSUER: &str = "https://login.test";
const MAX_STALENESS: Duration = Duration::from_secs(2);
/// Clocks are read in whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(60);

async fn serve(store: &str, directory: &Path, grpc: Option<SocketAddr>) -> Server {
    let mut config = Config::on_free_ports(directory);
    config.store = StoreUrl::parse(store).expect("a URL");
    config.encryption_key_file = Some(directory.join("kek"));
    config.create_key = CreateKey::IfMissing;
    config.public_url = Some(ISSUER.to_owned());
    config.realms.first_mut().expect("the default realm").algorithm = Algorithm::EdDsa;
    config.grpc = grpc.unwrap_or(config.grpc);
    Server::start(config).await.expect("starts")
}

fn channel(server: &Server) -> AuthorityChannel {
    ChannelOptions::default().balance(&[format!("http://{}", server.grpc_address())]).expect("an address")
}

async fn verifier(server: &Server) -> Verifier {
    let verifier =
        Verifier::builder(channel(server), ISSUER, "default").max_staleness(MAX_STALENESS, WhenStale::Refuse);
    let verifier = verifier.build().expect("names");
    tokio::time::timeout(PATIENCE, verifier.ready()).await.expect("keys and revocations");
    verifier
}

/// What was revoked, and when that had been answered; and what became of it.
#[derive(Default)]
struct History {
    revoked: Mutex<Vec<(String, Instant)>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    refused: usize,
    /// Though they were revoked: a verifier may be that stale.
    accepted: usize,
    /// For how long after the revocation, where that was too long.
    too_late: Vec<Duration>,
}

impl History {
    /// Logs in and revokes until that is answered, whatever fails meanwhile.
    async fn revoke_one(&self, through: &AuthorityChannel) {
        let mut tokens = TokenServiceClient::new(through.clone());
        let insisted = async {
            let pair = loop {
                let request = v1::IssueTokenRequest { subject: "ann".to_owned(), ..Default::default() };
                match tokens.issue_token(request).await {
                    Ok(answer) => break answer.into_inner().tokens.expect("tokens"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            let request = v1::RevokeTokenRequest { token: pair.refresh_token, ..Default::default() };
            while tokens.revoke_token(request.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.revoked.lock().unwrap().push((pair.access_token, Instant::now()));
        };
        tokio::time::timeout(PATIENCE, insisted).await.expect("revoked in the end");
    }

    /// Shows every revoked token to the verifier, again and again.
    async fn check(&self, verifier: &Verifier) {
        loop {
            let revoked = self.revoked.lock().unwrap().clone();
            for (token, answered) in revoked {
                let shown = Instant::now();
                let accepted = matches!(verifier.verify_known(&token), Some(Ok(_)));
                let since = shown - answered;
                let mut seen = self.seen.lock().unwrap();
                match accepted {
                    true if since > MAX_STALENESS + ROUNDING => seen.too_late.push(since),
                    true => seen.accepted += 1,
                    false => seen.refused += 1,
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Whether the verifier refuses all of it for what it is, and not since it is stale.
    fn is_known_to(&self, verifier: &Verifier, alive: &str) -> bool {
        let revoked = self.revoked.lock().unwrap();
        let refused = |(token, _): &(String, Instant)| matches!(verifier.verify_known(token), Some(Err(_)));
        matches!(verifier.verify_known(alive), Some(Ok(_))) && revoked.iter().all(refused)
    }
}

async fn login(through: &AuthorityChannel) -> String {
    let request = v1::IssueTokenRequest { subject: "alive".to_owned(), ..Default::default() };
    let answer = TokenServiceClient::new(through.clone()).issue_token(request).await.expect("issues");
    answer.into_inner().tokens.expect("tokens").access_token
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_while_another_revokes() {
    let redis = RedisServer::start().await;
    let (url, directory) = (redis.url("t"), TempDir::new().expect("a directory"));
    let hung_on = serve(&url, directory.path(), None).await;
    let other = serve(&url, directory.path(), None).await;
    let (address, others) = (hung_on.grpc_address(), channel(&other));
    let (verifier, history) = (verifier(&hung_on).await, History::default());
    let alive = login(&others).await;
    let faults = async {
        for _ in 0..5 {
            history.revoke_one(&others).await;
        }
        until(|| history.is_known_to(&verifier, &alive)).await;
        hung_on.stop().await;
        for _ in 0..5 {
            history.revoke_one(&others).await;
        }
        // It can't know, and refuses everything once it may be that far behind.
        until(|| history.seen().accepted > 0).await;
        until(|| !matches!(verifier.verify_known(&alive), Some(Ok(_)))).await;
        let back = serve(&url, directory.path(), Some(address)).await;
        history.revoke_one(&others).await;
        until(|| history.is_known_to(&verifier, &alive)).await;
        back
    };
    let back = tokio::select! {
        back = faults => back,
        () = history.check(&verifier) => unreachable!("it checks for ever"),
    };
    let seen = history.seen();
    println!("{seen:?}");
    assert_eq!(seen.too_late, Vec::<Duration>::new());
    back.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_fails_over_under_the_servers() {
    let mut fleet = RedisFleet::sentinel().await;
    let url = format!("{}&wait_replicas=1", fleet.url("t"));
    let directory = TempDir::new().expect("a directory");
    let servers = [serve(&url, directory.path(), None).await, serve(&url, directory.path(), None).await];
    let [one, other] = servers.each_ref().map(channel);
    let (verifier, history) = (verifier(&servers[0]).await, History::default());
    let alive = login(&one).await;
    let faults = async {
        for channel in [&one, &other].into_iter().cycle().take(10) {
            history.revoke_one(channel).await;
        }
        let primary = fleet.owner("t:{0}:head");
        fleet.servers[primary].kill9();
        for channel in [&one, &other].into_iter().cycle().take(10) {
            history.revoke_one(channel).await;
        }
        until(|| history.is_known_to(&verifier, &alive)).await;
    };
    tokio::select! {
        () = faults => {}
        () = history.check(&verifier) => unreachable!("it checks for ever"),
    }
    let seen = history.seen();
    println!("{seen:?}");
    assert_eq!(seen.too_late, Vec::<Duration>::new());
    assert!(seen.refused > 100, "{seen:?}");
    for server in servers {
        server.stop().await;
    }
}
