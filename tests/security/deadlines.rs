//! A caller's deadline over the real wire, with a store that does not answer: the caller is told in
//! time, and the same request succeeds once the store answers, as if it had been sent once.

use std::net::SocketAddr;
use std::sync::Arc;

use prost::Message;
use token_authority::authority::Authority;
use token_authority::authority::caller::Anonymous;
use token_authority::authority::introspect_token::Consistency;
use token_authority::grpc::limits::Limits;
use token_authority::grpc::{Gate, OpenStreams, Tokens};
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_server::TokenServiceServer;
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_types::StatusExt as _;

use super::raw_client::RawClient;
use super::store_faults::faulty_store::Fault;
use super::store_faults::world::{World, subject};

fn serve(authority: Arc<Authority>) -> SocketAddr {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = incoming.local_addr().expect("bound");
    let service = TokenServiceServer::new(Tokens::new(
        Gate::new(authority, Anonymous::Operator),
        OpenStreams::new(watch::channel(false).1),
    ));
    let serving = Server::builder().layer(Limits::default()).add_service(service).serve_with_incoming(incoming);
    tokio::task::spawn(serving);
    address
}

/// A call that the store keeps waiting at its `pass`th call, then the same without a deadline.
/// Returns that answer, and whether the store was reached before the deadline.
async fn late_then_again(world: &World, method: &str, message: &[u8], pass: usize, timeout: &str) -> (Vec<u8>, bool) {
    let path = format!("/token_authority.v1.TokenService/{method}");
    let mut client = RawClient::connect(serve(world.authority.clone())).await;
    world.store.arm(pass, &[Fault::Hang]);
    let late = client.call(&path, &[("grpc-timeout", timeout)], message).await.expect_err("the store does not answer");
    let what = format!("{method}, call {pass}, {timeout}");
    assert_eq!(late.code(), Code::DeadlineExceeded, "{what}: {late:?}");
    assert_eq!(late.get_details_error_info().map(|info| info.reason).as_deref(), Some("DEADLINE_EXCEEDED"), "{what}");
    assert!(late.get_details_retry_info().is_some(), "{what}");
    let (calls, _) = world.store.disarm();
    let answer = client.call(&path, &[], message).await.unwrap_or_else(|status| panic!("{what}: {status:?}"));
    (answer[5..].to_vec(), calls.len() > pass)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_though_the_store_is_slow_and_leaves_the_step_whole() {
    let mut reached = 0;
    // At the load, and at the commit.
    for (pass, timeout) in [(0, "1m"), (1, "1m"), (0, "100m"), (1, "100m")] {
        for method in ["IssueToken", "RefreshToken", "RevokeToken"] {
            let world = World::new().await;
            let (phone, laptop) = (world.login("ann", "phone").await, world.login("ann", "laptop").await);
            let refresh_token = phone.refresh_token.clone().expect("a session");
            let message = match method {
                "IssueToken" => v1::IssueTokenRequest {
                    realm: "web".into(),
                    subject: "ann".into(),
                    client_id: "app".into(),
                    request_id: "once".into(),
                    ..Default::default()
                }
                .encode_to_vec(),
                "RefreshToken" => {
                    v1::RefreshTokenRequest { realm: "web".into(), refresh_token, ..Default::default() }.encode_to_vec()
                }
                _ => v1::RevokeTokenRequest { realm: "web".into(), token: refresh_token, ..Default::default() }
                    .encode_to_vec(),
            };
            let (answer, was_reached) = late_then_again(&world, method, &message, pass, timeout).await;
            reached += usize::from(was_reached);

            let sessions = world.authority.list_sessions("web", subject("ann")).await.expect("lists").sessions;
            let mut generations: Vec<_> = sessions.iter().map(|session| session.session.generation).collect();
            generations.sort_unstable();
            let expected: &[u64] = match method {
                "IssueToken" => &[1, 1, 1],
                "RefreshToken" => &[1, 2],
                _ => &[1],
            };
            assert_eq!(generations, expected, "{method}, call {pass}, {timeout}");
            let phone_lives =
                world.introspect(&phone.access_token, Consistency::FullyConsistent).await.expect("answers");
            assert_eq!(phone_lives.is_some(), method != "RevokeToken");
            assert!(world.active(&laptop.access_token).await, "another session");
            if method == "RefreshToken" {
                let pair = v1::RefreshTokenResponse::decode(&*answer).expect("an answer").tokens.expect("tokens");
                let next = world.refresh(&pair.refresh_token).await.expect("the family lives");
                assert_eq!(next.grant.refresh.expect("a session").token.generation, 3);
            }
        }
    }
    println!("{reached} of 12 calls reached the store before their deadline");
    assert!(reached > 0);
}
