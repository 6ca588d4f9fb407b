//! What the SDK costs a service for each request of a token that it has seen: counted, not timed, so
//! that it holds on any machine.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use token_authority::client::{ChannelOptions, FetchKeys, NotFetched, Verifier, WhenStale};
use token_authority::clock::Clock;
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::time::Timestamp;
use tonic::codegen::BoxFuture;

use crate::forge::{Forge, ISSUER, NOW};

#[derive(Debug)]
struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        NOW
    }
}

#[derive(Debug)]
struct Published(Vec<u8>);

impl FetchKeys for Published {
    fn fetch(&self) -> BoxFuture<Vec<u8>, NotFetched> {
        let set = self.0.clone();
        Box::pin(async move { Ok(set) })
    }
}

#[tokio::test]
async fn a_known_token_costs_no_allocation() {
    let forge = Forge::new();
    let key = forge.key(Algorithm::Rs256).verify_key(crate::forge::realm("web")).unwrap();
    let jwks = json!({ "keys": [key.public().unwrap().to_jwk()] }).to_string().into_bytes();
    let nowhere = ChannelOptions::default().balance(&["http://127.0.0.1:1"]).unwrap();
    let verifier = Verifier::builder(nowhere, ISSUER, "api").realm("web").clock(Arc::new(Standing));
    let verifier = verifier.max_staleness(Duration::ZERO, WhenStale::Accept).fetch_keys(Published(jwks)).build();
    let (verifier, token) = (verifier.unwrap(), forge.token(Algorithm::Rs256));
    verifier.verify(&token).await.unwrap();

    let check = || assert!(matches!(verifier.verify_known(&token), Some(Ok(_))));
    let counted = allocation_counter::measure(check).count_total;
    assert_eq!(counted, 0);
    let copied = allocation_counter::measure(|| drop(token.clone())).count_total;
    assert_eq!(copied, 1, "the counter counts");
}
