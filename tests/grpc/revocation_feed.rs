//! Revocations as they are streamed: to a client of the wire, and to the SDK.

use std::time::Duration;

use token_authority::client::{ChannelOptions, NotAuthenticated, Rejection, Verifier};
use token_authority::domain::ids::Sid;
use token_authority::proto::v1;
use token_authority::proto::v1::revocation_entry::Target;
use token_authority::proto::v1::watch_revocations_response::Event;
use token_authority::verify;
use tonic::{Code, Streaming};

use crate::test_server::{TestServer, refusal};

const PATIENCE: Duration = Duration::from_secs(20);

async fn watch(server: &TestServer, after: &str) -> Streaming<v1::WatchRevocationsResponse> {
    let request =
        v1::WatchRevocationsRequest { after_revision: after.to_owned(), ..v1::WatchRevocationsRequest::default() };
    server.tokens.clone().watch_revocations(request).await.expect("a stream").into_inner()
}

async fn next(stream: &mut Streaming<v1::WatchRevocationsResponse>) -> Event {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
    message.expect("goes on").expect("a message").event.expect("an event")
}

fn ends(entries: &[v1::RevocationEntry], pair: &v1::TokenPair) -> bool {
    let session = Sid::parse(&pair.session_id).expect("a sid").session.0.to_vec();
    entries.iter().any(|entry| entry.target == Some(Target::Session(session.clone())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_sent_what_holds_then_each_change_and_goes_on_where_it_was() {
    let server = TestServer::start().await;
    let (before, after, missed) =
        (server.login("ann", "a").await, server.login("ann", "b").await, server.login("ann", "c").await);
    server.revoke(&before.refresh_token).await;

    let mut stream = watch(&server, "").await;
    let mut held = Vec::new();
    loop {
        let Event::Snapshot(chunk) = next(&mut stream).await else { panic!("a change before the snapshot") };
        held.extend(chunk.entries);
        if chunk.complete {
            assert!(chunk.as_of_time.is_some());
            break;
        }
    }
    // Its entry may have been on its way to the log's followers.
    let mut numbers = Vec::new();
    let mut revoked = false;
    let revision = loop {
        match next(&mut stream).await {
            Event::Snapshot(_) => panic!("nothing was missed"),
            Event::Delta(delta) => {
                numbers.push(delta.sequence_number);
                held.extend(delta.entries);
            }
            Event::Heartbeat(beat) if ends(&held, &before) && ends(&held, &after) => break beat.revision,
            Event::Heartbeat(_) if !revoked => {
                revoked = true;
                server.revoke(&after.refresh_token).await;
            }
            Event::Heartbeat(_) => {}
        }
    };
    assert_eq!(numbers, (1..=i64::try_from(numbers.len()).expect("few")).collect::<Vec<_>>());
    assert!(!ends(&held, &missed));
    drop(stream);

    server.revoke(&missed.refresh_token).await;
    let mut stream = watch(&server, &revision).await;
    loop {
        match next(&mut stream).await {
            Event::Snapshot(_) => panic!("the server still had what came since"),
            Event::Delta(delta) => {
                assert!(!ends(&delta.entries, &before), "sent again");
                if ends(&delta.entries, &missed) {
                    break;
                }
            }
            Event::Heartbeat(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_revision_is_refused() {
    let server = TestServer::start().await;
    let request =
        v1::WatchRevocationsRequest { after_revision: "AAAA".to_owned(), ..v1::WatchRevocationsRequest::default() };
    let status = server.tokens.clone().watch_revocations(request).await.expect_err("nonsense");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_REQUEST".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_refuses_what_was_revoked_without_asking() {
    let server = TestServer::start().await;
    let issuer = format!("http://{}", server.http());
    let channel = ChannelOptions::default().balance(&[&format!("http://{}", server.grpc())]).expect("an address");
    let verifier = Verifier::builder(channel, &issuer, "default").clock(server.clock()).build();
    let verifier = verifier.expect("names");
    let (revoked, other) = (server.login("ann", "a").await, server.login("ann", "b").await);
    tokio::time::timeout(PATIENCE, verifier.ready()).await.expect("keys and revocations");
    for pair in [&revoked, &other] {
        verifier.verify(&pair.access_token).await.expect("valid");
    }
    server.revoke(&revoked.refresh_token).await;
    let ended = Rejection::NotAuthenticated(NotAuthenticated::Token(verify::Rejection::Revoked));
    let told = async {
        while verifier.verify_known(&revoked.access_token) != Some(Err(ended.clone())) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("told in time");
    assert!(matches!(verifier.verify_known(&other.access_token), Some(Ok(_))), "another session goes on");
}
