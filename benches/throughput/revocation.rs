//! Revocations on their way to those who enforce them: how long until the last of many verifiers refuses
//! the token, and what a whole snapshot takes.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use token_authority::authority::ports::{Commit, Entropy as _, Outcome, RecordKey, Store as _, Version};
use token_authority::client::{AuthorityChannel, ChannelOptions, Verifier};
use token_authority::domain::ids::{RealmName, SessionId, SubjectKey};
use token_authority::domain::revocation::{RevocationEntry, RevocationScope};
use token_authority::domain::time::Timestamp;
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::store::redis::{RedisStore, Safety, Topology};
use token_authority::system::{SystemClock, SystemEntropy};
use tokio::time::Instant;

use crate::callers::AUDIENCE;
use crate::process::{self, ISSUER, Process};
use crate::stores::{Backing, Stores};
use crate::table::{Bound, Figure};
use crate::{Failure, REALM};

/// What this program is called with as a subscriber, before the address.
pub(crate) const SUBSCRIBER: &str = "subscriber";

const SERVERS: usize = 3;
const VERIFIERS: usize = 20;
const REVOCATIONS: usize = 1_000;
const LIVE: usize = 1_000_000;
const A_COMMIT: usize = 100;
const AT_A_TIME: usize = 32;
const PATIENCE: Duration = Duration::from_secs(300);

/// Each revocation from its call at one server until all verifiers, spread over three, refuse the token.
pub(crate) async fn latency(stores: &Stores) -> Result<Vec<Figure>, Failure> {
    let store = stores.url(Backing::Redis, "revocation").await?;
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(Process::authority(stores.directory(), &store, &[]).await?);
    }
    let issuer = format!("{ISSUER}/realms/{REALM}");
    let mut verifiers = Vec::new();
    for server in servers.iter().cycle().take(VERIFIERS) {
        let verifier = Verifier::builder(channel(&server.grpc.to_string())?, &issuer, AUDIENCE).realm(REALM).build()?;
        tokio::time::timeout(PATIENCE, verifier.ready()).await?;
        verifiers.push(verifier);
    }
    let mut tokens = TokenServiceClient::new(channel(&servers[0].grpc.to_string())?);
    let (mut refused, mut answered, mut whole) = (Vec::new(), Vec::new(), 0.0);
    for number in 0..REVOCATIONS {
        let request = v1::IssueTokenRequest {
            realm: REALM.into(),
            subject: format!("subject-{number}"),
            audience: vec![AUDIENCE.into()],
            ..Default::default()
        };
        let pair = tokens.issue_token(request).await?.into_inner().tokens.ok_or("no tokens")?;
        for verifier in &verifiers {
            verifier.verify(&pair.access_token).await.map_err(|rejection| format!("{rejection:?}"))?;
        }
        let request = v1::RevokeTokenRequest {
            realm: REALM.into(),
            token: pair.refresh_token,
            wait_for_subscribers: Some(prost_types::Duration { seconds: 4, nanos: 0 }),
            ..Default::default()
        };
        let start = Instant::now();
        let revoking = async {
            let answer = tokens.revoke_token(request).await?.into_inner();
            Ok::<_, Failure>((answer, start.elapsed()))
        };
        let refusing = async {
            let passes = |verifier: &Verifier| matches!(verifier.verify_known(&pair.access_token), Some(Ok(_)));
            while verifiers.iter().any(passes) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok::<_, Failure>(start.elapsed())
        };
        let ((answer, after), last) = tokio::try_join!(revoking, refusing)?;
        whole += f64::from(u8::from(answer.enforced_subscribers == answer.subscribers && answer.subscribers > 0));
        answered.push(after);
        refused.push(last);
    }
    let what = format!("revocation until the last of {VERIFIERS} verifiers at {SERVERS} servers refuses");
    let waiting = "the same, answered to who waits for them";
    Ok(vec![
        Figure::new(format!("{what}: p50"), millis_at(&mut refused, 50), "ms"),
        Figure::new(format!("{what}: p99"), millis_at(&mut refused, 99), "ms").bound(Bound::AtMost(50.0)),
        Figure::new(format!("{waiting}: p50"), millis_at(&mut answered, 50), "ms"),
        Figure::new(format!("{waiting}: p99"), millis_at(&mut answered, 99), "ms"),
        Figure::new(format!("of {REVOCATIONS}, answered by all of them in time"), whole, ""),
    ])
}

/// What a verifier that starts has to read, and to hold, where a million sessions were ended.
pub(crate) async fn snapshot(stores: &Stores) -> Result<Vec<Figure>, Failure> {
    let store = stores.url(Backing::Redis, "snapshot").await?;
    fill(&store).await?;
    let server = Process::authority(stores.directory(), &store, &[]).await?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([SUBSCRIBER, &server.grpc.to_string()]);
    let said = tokio::task::spawn_blocking(move || command.output()).await??;
    if !said.status.success() {
        return Err(String::from_utf8_lossy(&said.stderr).into_owned().into());
    }
    let said = String::from_utf8(said.stdout)?;
    let (seconds, mebibytes) = said.trim_end().split_once(' ').ok_or("a subscriber says two numbers")?;
    let what = format!("snapshot of {LIVE} revocations to a verifier");
    Ok(vec![
        Figure::new(format!("{what}: time"), seconds.parse()?, "s").bound(Bound::AtMost(2.0)),
        Figure::new(format!("{what}: memory"), mebibytes.parse()?, "MiB").bound(Bound::AtMost(64.0)),
    ])
}

/// In a process of its own: follows, and says how many seconds and MiB that took.
pub(crate) async fn subscriber(address: &str) -> Result<(), Failure> {
    let held = || process::resident(std::process::id()).unwrap_or(0);
    let before = held();
    let start = Instant::now();
    let verifier = Verifier::builder(channel(address)?, ISSUER, "default").build()?;
    tokio::time::timeout(PATIENCE, verifier.ready()).await?;
    let took = start.elapsed();
    println!("{:.3} {}", took.as_secs_f64(), held().saturating_sub(before) / 1024);
    Ok(())
}

async fn fill(url: &str) -> Result<(), Failure> {
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(SystemEntropy));
    let store = RedisStore::open(Topology::Standalone, url, Safety::Required, clock, entropy).await?;
    let realm = RealmName::parse("default")?;
    let commits = futures::stream::iter((0..LIVE / A_COMMIT).map(|_| {
        let until = Timestamp::from_seconds(now() + 24 * 3_600);
        let ended = |_| RevocationEntry { scope: RevocationScope::Session(SessionId(random())), until };
        Ok::<_, Failure>(Commit {
            id: Version(random()),
            key: RecordKey::subject(realm.clone(), SubjectKey(random())),
            expected: None,
            bytes: vec![0; 32].into(),
            expires: Some(until),
            revocations: (0..A_COMMIT).map(ended).collect(),
        })
    }));
    let committed = commits.map_ok(async |commit| match store.commit(&commit).await? {
        Outcome::Committed(_) => Ok(()),
        Outcome::Conflict => Err("a conflict without a rival".into()),
    });
    committed.try_buffer_unordered(AT_A_TIME).try_for_each(|()| std::future::ready(Ok(()))).await?;
    store.close().await;
    Ok(())
}

fn now() -> i64 {
    use token_authority::clock::Clock as _;
    SystemClock::default().now().seconds()
}

fn channel(address: &str) -> Result<AuthorityChannel, Failure> {
    Ok(ChannelOptions::default().balance(&[format!("http://{address}")])?)
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    SystemEntropy.fill(&mut bytes);
    bytes
}

fn millis_at(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = times.get(times.len() * percent / 100).or(times.last());
    at.map_or(0.0, Duration::as_secs_f64) * 1e3
}
