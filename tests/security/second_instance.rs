//! What one instance answers while another, or a commit that nobody heard of, is ahead of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join;
use serde_json::{Value, json};
use token_authority::authority::check_request::{HeldRequest, Requirements, Verdict};
use token_authority::authority::exchange_token::ExchangeToken;
use token_authority::authority::ports::Clock as _;
use token_authority::authority::{Error, IssuedTokens};
use token_authority::domain::client::{Client, GrantType};
use token_authority::domain::ids::ClientId;
use token_authority::domain::key_ring::KeyState;
use token_authority::domain::policy::Allowed;
use token_authority::domain::revocation::{RevocationEntry, RevocationScope};
use token_authority::domain::rotate_keys::PublishAhead;

use crate::store_faults::faulty_store::Fault;
use crate::store_faults::world::{World, sid};

/// The app itself, which has no role.
fn app() -> Client {
    let (audiences, scopes) = (Allowed::Any, Allowed::Any);
    Client { id: ClientId::parse("app").unwrap(), grants: GrantType::ALL.into(), audiences, scopes, roles: [].into() }
}

#[tokio::test]
async fn a_revocation_sent_again_by_a_client_is_proven_too() {
    let world = World::new().await;
    let tokens = world.login("ann", "phone").await;
    let refresh_token = tokens.refresh_token.as_ref().unwrap();
    world.authority.revoke_session("web", sid(&tokens)).await.unwrap();
    let mut calls = Vec::new();
    for pass in 0..4 {
        world.store.arm(pass, &[Fault::Unavailable]);
        let again = world.authority.revoke_token_for("web", &app(), refresh_token).await;
        let (seen, applied) = world.store.disarm();
        assert_eq!(applied, 0, "an end that was written twice");
        assert_eq!(again.is_ok(), seen.len() <= pass, "answered although call {pass} failed: {again:?}");
        calls.push(seen.len());
    }
    assert!(calls.contains(&3), "the session, the record and the proof: {calls:?}");
}

/// A login at an instance that made a key for it.
async fn login_by_a_new_key(world: &World, device: &str) -> IssuedTokens {
    let key = world.authority.prepare_key("web", None, None).await.unwrap();
    world.authority.activate_key("web", Some(key.kid), PublishAhead::Skipped).await.unwrap();
    world.login("ann", device).await
}

#[tokio::test]
async fn a_token_whose_key_cannot_be_looked_up_is_not_answered_as_revoked() {
    let world = World::new().await;
    let other = world.beside().await;
    let tokens = login_by_a_new_key(&other, "phone").await;
    let revoke = || world.authority.revoke_token("web", &tokens.access_token);
    world.store.arm(0, &[Fault::Unavailable; 3]);
    assert!(matches!(revoke().await, Err(Error::StoreUnavailable(_))));
    assert!(matches!(revoke().await, Err(Error::StoreUnavailable(_))), "the reading is used up");
    let again = world.authority.revoke_token_for("web", &app(), &tokens.access_token).await;
    assert!(matches!(again, Err(Error::StoreUnavailable(_))), "{again:?}");
    world.store.disarm();
    world.authority.tend_keys_once().await;
    revoke().await.expect("revokes");
    assert!(!world.active(&tokens.access_token).await);

    // One newer than the reading of this tick.
    let tokens = login_by_a_new_key(&other, "laptop").await;
    let app = app();
    let revoke = || world.authority.revoke_token_for("web", &app, &tokens.access_token);
    assert!(matches!(revoke().await, Err(Error::NotFresh)), "no tick comes");
    let (revoked, ()) = join(revoke(), world.authority.tend_keys_once()).await;
    revoked.expect("waits for the next reading");
    assert!(!world.active(&tokens.access_token).await);
}

async fn passes(world: &World, tokens: &IssuedTokens) -> bool {
    let required = Requirements::parse([("realm", "web")]).unwrap();
    let bearer = format!("Bearer {}", tokens.access_token);
    let held = HeldRequest { authorization: Some(&bearer), ..HeldRequest::default() };
    matches!(world.authority.check_request(&held, &required).await.unwrap(), Verdict::Allowed(_))
}

async fn exchange(world: &World, tokens: &IssuedTokens) -> Result<IssuedTokens, Error> {
    let subject_token = tokens.access_token.clone().into();
    let request = ExchangeToken { subject_token, actor_token: None, audience: Vec::new(), scope: Vec::new() };
    world.authority.exchange_token("web", &app(), request).await
}

#[tokio::test]
async fn a_key_that_another_instance_just_made_serves_here() {
    let world = World::new().await;
    let other = world.beside().await;
    assert!(passes(&world, &login_by_a_new_key(&other, "phone").await).await);
    world.authority.tend_keys_once().await;
    exchange(&world, &login_by_a_new_key(&other, "laptop").await).await.expect("exchanges");
}

#[tokio::test]
async fn nothing_is_signed_with_a_key_that_another_instance_revoked() {
    let world = World::new().await;
    let other = world.beside().await;
    let late = world.beside().await;
    let keys = other.authority.list_keys("web").await.unwrap();
    let old = keys.into_iter().find(|key| key.state == KeyState::Active).unwrap().kid;
    other.authority.revoke_key("web", old.clone(), "stolen").await.unwrap();
    let tokens = other.login("ann", "phone").await;
    // As the log tells it.
    let until = world.clock.now() + Duration::from_secs(3600);
    world.index.insert(&RevocationEntry { scope: RevocationScope::Key(old.clone()), until });
    let audience = ClientId::parse("app").unwrap();
    let exchanged = exchange(&world, &tokens).await.expect("exchanges").access_token;
    late.index.insert(&RevocationEntry { scope: RevocationScope::Key(old.clone()), until });
    let statement = late.authority.introspection_statement("web", &audience, json!({})).await.expect("signs");
    for signed in [exchanged, statement] {
        let header = URL_SAFE_NO_PAD.decode(signed.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_ne!(header["kid"], old.as_str(), "signed with the revoked key");
    }
}
