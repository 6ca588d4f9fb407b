//! What one instance answers while another, or a commit that nobody heard of, is ahead of it.

use token_authority::domain::client::Client;
use token_authority::domain::ids::ClientId;
use token_authority::domain::policy::Allowed;

use crate::store_faults::faulty_store::Fault;
use crate::store_faults::world::{World, sid};

/// The app itself, which has no role.
fn app() -> Client {
    let (audiences, scopes) = (Allowed::Any, Allowed::Any);
    Client { id: ClientId::parse("app").unwrap(), grants: [].into(), audiences, scopes, roles: [].into() }
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
