//! Waiting until subscribers enforce a revocation: the counts, and who is told to lag.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use token_authority::client::{ChannelOptions, Verifier};
use token_authority::proto::v1;
use token_authority::proto::v1::follow_revocations_request::Step;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::Bytes;
use tonic::{Code, Streaming};

use crate::test_server::{TestServer, refusal};

const PATIENCE: Duration = Duration::from_secs(20);

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

async fn verifier(server: &TestServer) -> Verifier {
    let issuer = format!("http://{}", server.http());
    let channel = ChannelOptions::default().balance(&[&format!("http://{}", server.grpc())]).expect("an address");
    let verifier = Verifier::builder(channel, &issuer, "default").clock(server.clock()).build().expect("names");
    tokio::time::timeout(PATIENCE, verifier.ready()).await.expect("keys and revocations");
    verifier
}

/// A subscriber that says only what the test sends.
struct Subscriber {
    said: mpsc::Sender<v1::FollowRevocationsRequest>,
    messages: Streaming<v1::FollowRevocationsResponse>,
}

impl Subscriber {
    async fn named(server: &TestServer, name: &str) -> Self {
        let (said, stream) = mpsc::channel(1);
        let subscribe = v1::RevocationSubscription { client_name: name.to_owned(), ..Default::default() };
        let first = v1::FollowRevocationsRequest { step: Some(Step::Subscribe(subscribe)), ..Default::default() };
        said.send(first).await.expect("room");
        let messages = server.tokens.clone().follow_revocations(ReceiverStream::new(stream)).await.expect("a stream");
        Self { said, messages: messages.into_inner() }
    }

    /// Reads until there is a receipt for something new.
    async fn receipt(&mut self, than: i64) -> i64 {
        let read = async {
            loop {
                let message = self.messages.message().await.expect("goes on").expect("a message");
                if message.receipt > than {
                    return message.receipt;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("in time")
    }

    async fn acknowledge(&self, receipt: i64) {
        let applied = Step::Applied(v1::RevocationReceipt { receipt });
        self.said
            .send(v1::FollowRevocationsRequest { step: Some(applied), ..Default::default() })
            .await
            .expect("the server listens");
    }
}

async fn revoke(server: &TestServer, token: &str, wait: Option<prost_types::Duration>) -> v1::RevokeTokenResponse {
    let request = v1::RevokeTokenRequest { token: token.to_owned(), wait_for_subscribers: wait, ..Default::default() };
    server.tokens.clone().revoke_token(request).await.expect("revokes").into_inner()
}

fn counts(answer: &v1::RevokeTokenResponse) -> (i32, i32) {
    (answer.enforced_subscribers, answer.subscribers)
}

/// Until the server counts so many.
async fn subscribed(server: &TestServer, count: i32) {
    let waiting = async {
        while counts(&revoke(server, "no token", seconds(0)).await).1 != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_is_answered_when_every_verifier_refuses() {
    let server = TestServer::start().await;
    let verifiers = [verifier(&server).await, verifier(&server).await];
    subscribed(&server, 2).await;
    for device in ["a", "b", "c"] {
        let pair = server.login("ann", device).await;
        for verifier in &verifiers {
            verifier.verify(&pair.access_token).await.expect("valid");
        }
        assert_eq!(counts(&revoke(&server, &pair.refresh_token, seconds(4)).await), (2, 2));
        assert!(verifiers.iter().all(|verifier| matches!(verifier.verify_known(&pair.access_token), Some(Err(_)))));
    }
    let session = server.login("ann", "d").await.session_id;
    let request =
        v1::RevokeSessionRequest { session_id: session, wait_for_subscribers: seconds(4), ..Default::default() };
    let answer = server.sessions.clone().revoke_session(request).await.expect("revokes").into_inner();
    assert_eq!((answer.enforced_subscribers, answer.subscribers), (2, 2));
    server.login("ann", "e").await;
    let request =
        v1::RevokeAllSessionsRequest { subject: "ann".into(), wait_for_subscribers: seconds(4), ..Default::default() };
    let answer = server.sessions.clone().revoke_all_sessions(request).await.expect("revokes").into_inner();
    assert_eq!((answer.revoked_count, answer.enforced_subscribers, answer.subscribers), (1, 2, 2));
    drop(verifiers);
    subscribed(&server, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_over_answers_the_counts_and_holds_nothing_up() {
    let server = TestServer::start().await;
    let mut subscriber = Subscriber::named(&server, "slow").await;
    let whole = subscriber.receipt(0).await;
    let pairs = [server.login("ann", "a").await, server.login("ann", "b").await];
    let [first, second] = pairs.map(|pair| pair.refresh_token);
    assert_eq!(counts(&revoke(&server, &first, None).await), (0, 0), "nobody asked");
    let news = subscriber.receipt(whole).await;

    // It has the snapshot, and that is not enough; nor is a receipt for what it was never sent.
    subscriber.acknowledge(whole).await;
    assert_eq!(counts(&revoke(&server, &first, seconds(0)).await), (0, 1));
    let waiting = revoke(&server, &first, seconds(4));
    let acknowledging = async {
        // Committed long before anybody acknowledges.
        let introspected = server.introspect(&first).await;
        assert!(!introspected.active);
        subscriber.acknowledge(news).await;
    };
    let (answer, ()) = tokio::join!(waiting, acknowledging);
    assert_eq!(counts(&answer), (1, 1));

    subscriber.acknowledge(i64::MAX).await;
    let answer = revoke(&server, &second, Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 })).await;
    assert_eq!(counts(&answer), (0, 1), "what is not there yet can't be acknowledged");
    assert!(!server.introspect(&second).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_lags_is_named_in_the_metrics() {
    let server = TestServer::start().await;
    let _prompt = verifier(&server).await;
    let _silent = Subscriber::named(&server, "orders \"3\"").await;
    subscribed(&server, 2).await;
    let named = async {
        loop {
            let text = metrics(&server).await;
            if text.contains("revocation_subscribers_lagging 1") {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let text = tokio::time::timeout(PATIENCE, named).await.expect("in time");
    assert!(text.contains("revocation_subscribers 2"), "{text}");
    let line = r#"revocation_subscriber_lag_seconds{realm="default",subscriber="orders \"3\""} "#;
    assert!(text.lines().any(|text| text.starts_with(line)), "{text}");
    let worst = text.lines().find_map(|line| line.strip_prefix("revocation_subscriber_worst_lag_seconds "));
    assert!(worst.expect("the worst").parse::<f64>().expect("seconds") >= 3.0);
}

async fn metrics(server: &TestServer) -> String {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let url = format!("http://{}/metrics", server.http()).parse().expect("a URL");
    let body = client.get(url).await.expect("an answer").into_body().collect().await.expect("whole").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_subscription_is_refused() {
    let server = TestServer::start().await;
    let follow = |step| {
        let first = v1::FollowRevocationsRequest { step, ..Default::default() };
        let mut tokens = server.tokens.clone();
        async move { tokens.follow_revocations(tokio_stream::iter([first])).await.expect_err("refused") }
    };
    let applied = Step::Applied(v1::RevocationReceipt { receipt: 1 });
    let named =
        |name: &str| Step::Subscribe(v1::RevocationSubscription { client_name: name.to_owned(), ..Default::default() });
    for step in [None, Some(applied), Some(named("line\nbreak")), Some(named(&"n".repeat(129)))] {
        assert_eq!(refusal(&follow(step).await), (Code::InvalidArgument, "INVALID_REQUEST".into()));
    }
    let wait = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let pair = server.login("ann", "a").await;
    let request =
        v1::RevokeTokenRequest { token: pair.refresh_token.clone(), wait_for_subscribers: wait, ..Default::default() };
    let status = server.tokens.clone().revoke_token(request).await.expect_err("a negative wait");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_REQUEST".into()));
    assert!(server.introspect(&pair.access_token).await.active, "refused before anything was done");
}

/// More than one request may hold in all, were it one.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_may_acknowledge_for_ever() {
    let server = TestServer::start().await;
    let mut subscriber = Subscriber::named(&server, "").await;
    let whole = subscriber.receipt(0).await;
    for _ in 0..20_000 {
        subscriber.acknowledge(whole).await;
    }
    let pair = server.login("ann", "a").await;
    server.revoke(&pair.refresh_token).await;
    let news = subscriber.receipt(whole).await;
    subscriber.acknowledge(news).await;
    assert_eq!(counts(&revoke(&server, &pair.refresh_token, seconds(4)).await), (1, 1));
}
