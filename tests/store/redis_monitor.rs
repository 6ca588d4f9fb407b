//! Whoever may listen at Redis (`MONITOR`) or dump it learns no token and nothing of anybody: a story of
//! all operations, and a search for what was planted in it.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use token_authority::authority::ports::{RecordKey, Store as _};
use token_authority::proto::v1;
use token_authority::proto::v1::consistency::Requirement;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::store::key_encryption_key::KeyEncryptionKey;
use token_authority::store::redis::Topology;
use token_authority::store::sealing::SealedStore;
use tonic::transport::Channel;

use super::fixtures::{NOON, SeededEntropy, TurnedClock, commit, fresh_key, open_redis, realm};
use super::redis_faults::world::World;
use super::redis_server::RedisServer;

const SUBJECT: &str = "planted-subject-5c1f";
const PHONE: &str = "+4915123456789";
const CLAIM: &str = "planted-claim-a84e";
const LATER_CLAIM: &str = "planted-claim-0d92";
const DEVICE: [&str; 4] = ["planted-device-77", "planted-name-77", "planted-agent-77", "198.51.100.77"];
/// Of the secrets that the authority made itself, each stretch of this length is searched for.
const STRETCH: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_monitor_nor_a_dump_shows_anything_planted() {
    let redis = RedisServer::start().await;
    let monitor = redis.monitor();
    let world = World::on(&redis.url("t"), 1).await;
    let mut planted = story(&world.channels[0]).await;
    planted.extend([SUBJECT, PHONE, CLAIM, LATER_CLAIM].into_iter().chain(DEVICE).map(|text| text.as_bytes().to_vec()));
    let key_file = std::fs::read(world.key_file()).expect("a key file");
    planted.push(key_file.trim_ascii().to_vec());

    let bare = open_redis(Topology::Standalone, &redis.url("t"), &TurnedClock::at(NOON)).await;
    // What is looked for would be seen.
    bare.commit(&commit(&fresh_key(), None, b"\0shown \"as\" it is\xff")).await.expect("an outcome");
    let mut heard = monitor.heard(&redis);
    assert!(contains(&heard, b"\0shown \"as\" it is\xff") && heard.len() > 10_000, "{} bytes", heard.len());
    for (key, (value, _)) in redis.dump() {
        heard.extend(key);
        heard.extend(value);
    }

    for one in &planted {
        assert!(!contains(&heard, one), "{}", String::from_utf8_lossy(one));
    }
    // Private keys, peppers, the key of the refresh tokens: all that a realm's record says.
    let kek = KeyEncryptionKey::load(&world.key_file()).expect("a key");
    let entropy = SeededEntropy::named("monitor");
    let sealed = SealedStore::open(std::sync::Arc::new(bare), &[kek], &*entropy).await.expect("an open vault");
    let record = sealed.load(&RecordKey::realm(realm("default"))).await.expect("an answer").expect("a record");
    let secrets: HashSet<_> = record.bytes.windows(STRETCH).collect();
    assert!(secrets.len() > 100 && !heard.windows(STRETCH).any(|stretch| secrets.contains(stretch)));
    println!(
        "{} bytes heard and dumped, {} planted values and {} stretches of secrets not among them",
        heard.len(),
        planted.len(),
        secrets.len()
    );
}

/// Every operation there is; what must not be seen of their tokens.
async fn story(channel: &Channel) -> Vec<Vec<u8>> {
    let mut tokens = TokenServiceClient::new(channel.clone());
    let mut sessions = SessionServiceClient::new(channel.clone());
    let mut pairs = Vec::new();
    for session in 0..5 {
        let pair = tokens.issue_token(login(session)).await.expect("issues").into_inner().tokens.expect("tokens");
        let refresh_token = pair.refresh_token.clone();
        pairs.push(pair);
        let refresh = v1::RefreshTokenRequest { refresh_token, ..Default::default() };
        for _ in 0..2 {
            let answer = tokens.refresh_token(refresh.clone()).await.expect("refreshes");
            pairs.push(answer.into_inner().tokens.expect("tokens"));
        }
    }
    let alone = v1::IssueTokenRequest { without_session: true, device: None, ..login(9) };
    let alone = tokens.issue_token(alone).await.expect("issues").into_inner().tokens.expect("tokens");
    for token in [&pairs[0].access_token, &pairs[1].refresh_token, &alone.access_token] {
        for requirement in [Requirement::MinimizeLatency(true), Requirement::FullyConsistent(true)] {
            let consistency = Some(v1::Consistency { requirement: Some(requirement) });
            let request = v1::IntrospectTokenRequest { token: token.clone(), consistency, ..Default::default() };
            assert!(tokens.introspect_token(request).await.expect("answers").into_inner().active);
        }
    }
    let ids: Vec<_> = pairs.iter().step_by(3).map(|pair| pair.session_id.clone()).collect();
    let claims = v1::UpdateSessionClaimsRequest {
        session_id: ids[0].clone(),
        claims: Some(claims(LATER_CLAIM)),
        end_access_tokens: true,
        ..Default::default()
    };
    sessions.update_session_claims(claims).await.expect("updates");
    let list = v1::ListSessionsRequest { subject: SUBJECT.to_owned(), ..Default::default() };
    assert_eq!(sessions.list_sessions(list).await.expect("lists").into_inner().sessions.len(), 5);
    let session = v1::RevokeSessionRequest { session_id: ids[0].clone(), ..Default::default() };
    sessions.revoke_session(session).await.expect("revokes");
    // A replay ends the second one.
    let replayed = v1::RefreshTokenRequest { refresh_token: pairs[3].refresh_token.clone(), ..Default::default() };
    let next = v1::RefreshTokenRequest { refresh_token: pairs[4].refresh_token.clone(), ..Default::default() };
    tokens.refresh_token(next).await.expect("refreshes");
    tokens.refresh_token(replayed).await.expect_err("a replay");
    let token = v1::RevokeTokenRequest { token: pairs[7].refresh_token.clone(), ..Default::default() };
    tokens.revoke_token(token).await.expect("revokes");
    let batch = v1::BatchRevokeTokensRequest { tokens: vec![alone.access_token.clone()], ..Default::default() };
    tokens.batch_revoke_tokens(batch).await.expect("revokes");
    let client = v1::RevokeClientRequest { client_id: "other".to_owned(), ..Default::default() };
    tokens.revoke_client(client).await.expect("revokes");
    let all = v1::RevokeAllSessionsRequest { subject: SUBJECT.to_owned(), ..Default::default() };
    sessions.revoke_all_sessions(all).await.expect("revokes");
    let erased = v1::EraseSubjectRequest { subject: SUBJECT.to_owned(), ..Default::default() };
    sessions.erase_subject(erased).await.expect("erases");
    tokens.revoke_realm(v1::RevokeRealmRequest::default()).await.expect("revokes");
    pairs.push(alone);
    pairs.iter().flat_map(parts).collect()
}

fn login(session: usize) -> v1::IssueTokenRequest {
    let [id, name, user_agent, ip_address] = DEVICE.map(str::to_owned);
    let device_id = format!("{id}-{session}");
    v1::IssueTokenRequest {
        subject: SUBJECT.to_owned(),
        claims: Some(claims(CLAIM)),
        device: Some(v1::Device { device_id, name, user_agent, ip_address, ..Default::default() }),
        ..Default::default()
    }
}

fn claims(planted: &str) -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    Struct { fields: [("role".to_owned(), text(planted)), ("phone_number".to_owned(), text(PHONE))].into() }
}

/// Each part of a token from which it could be known, as text and as bytes.
fn parts(pair: &v1::TokenPair) -> Vec<Vec<u8>> {
    let signed = pair.access_token.split('.').skip(1);
    let opaque = pair.refresh_token.strip_prefix("tar_");
    let texts = signed.chain(opaque).filter(|text| !text.is_empty());
    texts.flat_map(|text| [text.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(text).expect("base64url")]).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
