//! A channel that carries a session's tokens: a refused call is sent again with the next token, once,
//! and what no token can help is not asked for again and again.

use std::time::Duration;

use token_authority::client::{AttachToken, Backoff, SessionOver, TokenSource};
use token_authority::proto::v1;
use token_authority::proto::v1::ErrorReason;
use tonic::Code;
use tonic::transport::Channel;
use tower::ServiceBuilder;

use super::greeter::{Greeter, greet, refusal_of};

async fn generation(greeter: &Greeter, session_id: &str) -> i64 {
    let request = v1::GetSessionRequest { session_id: session_id.to_owned(), ..Default::default() };
    let answer = greeter.sessions.clone().get_session(request).await.expect("answers");
    answer.into_inner().session.expect("a session").generation
}

fn to_authority(greeter: &Greeter) -> Channel {
    Channel::from_shared(greeter.authority.endpoint()).expect("an address").connect_lazy()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_is_sent_again_with_the_next_token() {
    let greeter = Greeter::start().await;
    let login = greeter.login("shop", "read").await;
    let source = TokenSource::builder(to_authority(&greeter)).backoff(Backoff::new(Duration::ZERO, Duration::ZERO));
    let source = source.start(login.clone()).await.expect("starts");
    let channel = ServiceBuilder::new().layer(AttachToken::new(source.clone())).service(greeter.channel.clone());
    assert_eq!(greet(channel.clone(), &[]).await.expect("greets"), "hello ann");
    assert_eq!(generation(&greeter, &login.session_id).await, 0);

    let request = v1::UpdateSessionClaimsRequest {
        session_id: login.session_id.clone(),
        claims: Some(prost_types::Struct::default()),
        end_access_tokens: true,
        ..Default::default()
    };
    greeter.sessions.clone().update_session_claims(request).await.expect("updates");
    let ended = [("authorization", format!("Bearer {}", login.access_token))];
    assert_eq!(refusal_of(greeter.channel.clone(), &ended).await.code(), Code::Unauthenticated);
    assert_eq!(greet(channel.clone(), &[]).await.expect("greets"), "hello ann");
    assert_eq!(generation(&greeter, &login.session_id).await, 1);

    let request = v1::RevokeSessionRequest { session_id: login.session_id, ..Default::default() };
    greeter.sessions.clone().revoke_session(request).await.expect("revokes");
    assert_eq!(refusal_of(channel, &[]).await.code(), Code::Unauthenticated);
    assert_eq!(*source.over().borrow(), Some(SessionOver(ErrorReason::SessionEnded)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_no_token_helps_costs_one_refresh() {
    let greeter = Greeter::start().await;
    let login = greeter.login("bank", "read").await;
    let source = TokenSource::builder(to_authority(&greeter)).backoff(Backoff::new(Duration::ZERO, Duration::MAX));
    let source = source.start(login.clone()).await.expect("starts");
    let channel = ServiceBuilder::new().layer(AttachToken::new(source)).service(greeter.channel.clone());
    for _ in 0..10 {
        assert_eq!(greet(channel.clone(), &[]).await.expect_err("refused").code(), Code::Unauthenticated);
    }
    assert_eq!(generation(&greeter, &login.session_id).await, 1);
}
