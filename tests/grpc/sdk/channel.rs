//! A channel to several addresses: each takes its share of the calls.

use token_authority::client::ChannelOptions;
use token_authority::proto::v1::IntrospectTokenRequest;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::time::timeout;

use super::relay::{PATIENCE, Relay};

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_shared_out_among_the_addresses() {
    let (one, other) = (Relay::start().await, Relay::start().await);
    let channel = ChannelOptions::default().balance(&[&one.address, &other.address]).expect("addresses");
    let mut authority = TokenServiceClient::new(channel);
    let both = timeout(PATIENCE, async {
        while one.introspections() == 0 || other.introspections() == 0 {
            let request = IntrospectTokenRequest { token: "x".to_owned(), ..Default::default() };
            authority.introspect_token(request).await.expect("answers");
        }
    });
    both.await.expect("both are asked in the end");
}
