//! Tokens as the signer writes them, and what it does under load and without a key.

use serde_json::{Value, json};

use super::*;
use crate::domain::algorithm::Algorithm;
use crate::domain::claims::Claims;
use crate::domain::ids::{Audience, ClientId, Route, Scope, SessionId, Sid, Subject, SubjectKey, TokenId};
use crate::domain::time::Timestamp;
use crate::domain::token::Confirmation;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn realm() -> RealmName {
    RealmName::parse("web").expect("a realm")
}

fn key(algorithm: Algorithm) -> Arc<SigningKey> {
    let der = SigningKey::generate(algorithm).expect("a key");
    Arc::new(SigningKey::from_pkcs8(algorithm, &der).expect("its own encoding"))
}

fn token() -> AccessToken {
    let Value::Object(claims) = json!({ "role": "admin", "a": { "b": [1] } }) else { panic!("an object") };
    AccessToken {
        id: TokenId { epoch: 0, origin: Timestamp::from_millis(1_000_500), random: [5; 16], route: Route::BySid },
        realm: realm(),
        profile: Arc::default(),
        key: KeyNumber(1),
        subject: Subject::parse("+491701234567").expect("a subject"),
        client: ClientId::parse("app").expect("a client"),
        audience: vec![Audience::parse("api").expect("an audience")],
        scope: ["read", "write"].map(|scope| Scope::parse(scope).expect("a scope")).to_vec(),
        claims: Claims::new(claims).expect("claims"),
        confirmation: None,
        actor: None,
        session: Some(Sid { pepper_id: 1, subject: SubjectKey([2; 16]), session: SessionId([3; 16]) }),
        session_client: None,
        issued: Timestamp::from_seconds(1_000),
        expires: Timestamp::from_seconds(1_900),
    }
}

fn part(token: &str, at: usize) -> String {
    let part = token.split('.').nth(at).expect("three parts");
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("UTF-8")
}

async fn payload(token: &AccessToken) -> Value {
    let signer = Signer::new().expect("threads");
    signer.install(realm(), KeyNumber(1), key(Algorithm::EdDsa));
    let text = signer.sign("https://issuer.example", token).await.expect("a signature");
    serde_json::from_str(&part(&text, 1)).expect("JSON")
}

#[tokio::test]
async fn a_token_says_what_rfc_9068_wants_and_nothing_else() {
    let signer = Signer::new().expect("threads");
    let key = key(Algorithm::Rs256);
    signer.install(realm(), KeyNumber(1), Arc::clone(&key));
    let token = token();
    let text = signer.sign("https://issuer.example", &token).await.expect("a signature");
    assert_eq!(part(&text, 0), format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{}"}}"#, key.kid()));
    let (jti, sid) = (token.id, token.session.expect("a session"));
    let expected = format!(
        r#"{{"iss":"https://issuer.example","sub":"+491701234567","aud":"api","client_id":"app","exp":1900,"iat":1000,"jti":"{jti}","scope":"read write","sid":"{sid}","role":"admin","a":{{"b":[1]}}}}"#
    );
    assert_eq!(part(&text, 1), expected);
}

#[tokio::test]
async fn what_is_empty_is_left_out_and_what_is_several_is_an_array() {
    let mut token = token();
    token.scope.clear();
    token.session = None;
    token.audience.push(Audience::parse("other").expect("an audience"));
    token.confirmation = Some(Confirmation::JwkThumbprint([0; 32]));
    let claims = payload(&token).await;
    assert_eq!(claims["aud"], json!(["api", "other"]));
    assert_eq!(claims["cnf"], json!({ "jkt": "A".repeat(43) }));
    assert_eq!((claims.get("scope"), claims.get("sid")), (None, None));
    token.session_client = Some(ClientId::parse("web").expect("a client"));
    assert_eq!(payload(&token).await["sid_client_id"], "web");
    token.confirmation = Some(Confirmation::CertificateThumbprint([0; 32]));
    assert_eq!(payload(&token).await["cnf"], json!({ "x5t#S256": "A".repeat(43) }));
}

#[tokio::test]
async fn without_its_key_there_is_no_signature() {
    let signer = Signer::new().expect("threads");
    let other = RealmName::parse("other").expect("a realm");
    signer.install(other, KeyNumber(1), key(Algorithm::EdDsa));
    signer.install(realm(), KeyNumber(2), key(Algorithm::EdDsa));
    assert_eq!(signer.sign("i", &token()).await, Err(SignError::NoSuchKey));
    signer.install(realm(), KeyNumber(1), key(Algorithm::EdDsa));
    assert!(signer.sign("i", &token()).await.is_ok());
    signer.remove(&realm(), KeyNumber(1));
    assert_eq!(signer.sign("i", &token()).await, Err(SignError::NoSuchKey));
}

#[tokio::test]
async fn a_token_that_no_verifier_takes_is_not_made() {
    let signer = Signer::new().expect("threads");
    signer.install(realm(), KeyNumber(1), key(Algorithm::Rs256));
    let mut token = token();
    let audience = |i: usize| Audience::parse(&format!("{i:0>255}")).expect("an audience");
    token.audience = (0..24).map(audience).collect();
    assert_eq!(signer.sign("i", &token).await, Err(SignError::TooLarge));
    token.audience.truncate(8);
    assert!(signer.sign("i", &token).await.is_ok());
}

#[tokio::test]
async fn overload_is_refused_at_once_and_passes() {
    let key = key(Algorithm::Rs256);
    let pool = Pool::new(NonZero::<usize>::MIN, 4).expect("a thread");
    let signer = Signer { keys: RwLock::default(), pool };
    signer.install(realm(), KeyNumber(1), key);
    let started: Vec<_> = (0..64).map(|_| signer.start("i", &token())).collect();
    let mut results = Vec::new();
    for pending in started {
        results.push(match pending {
            Ok(pending) => pending.await,
            Err(refused) => Err(refused),
        });
    }
    assert!(results[0].is_ok());
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(SignError::Overloaded))));
    assert!(results.contains(&Err(SignError::Overloaded)));
    assert!(signer.sign("i", &token()).await.is_ok());
}

#[tokio::test]
async fn a_signature_is_on_its_way_before_it_is_awaited() {
    let signer = Signer::new().expect("threads");
    signer.install(realm(), KeyNumber(1), key(Algorithm::Rs256));
    let mut pending = signer.start("i", &token()).expect("a place in the queue");
    let State::InPool(receiver) = &mut pending.0 else { panic!("RSA goes to the pool") };
    // Not polled by anyone: only a thread of the pool can fill it.
    while receiver.is_empty() {
        std::thread::yield_now();
    }
    drop(signer);
    assert!(pending.await.is_ok());
}
