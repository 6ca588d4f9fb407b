//! Receipts of subscribers that hang on several servers of one Redis: whichever server revokes counts all of
//! them, and an operator sees at the store who lags.

use std::time::Duration;

use futures::future::join_all;
use token_authority::client::{ChannelOptions, Verifier};
use token_authority::proto::v1;
use token_authority::proto::v1::follow_revocations_request::Step;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::operator::{answer, run};
use crate::test_server::TestServer;

const PATIENCE: Duration = Duration::from_secs(20);

async fn revoke(server: &TestServer, token: &str, wait: Duration) -> (i32, i32) {
    let wait = prost_types::Duration::try_from(wait).expect("short");
    let request =
        v1::RevokeTokenRequest { token: token.to_owned(), wait_for_subscribers: Some(wait), ..Default::default() };
    let answer = server.tokens.clone().revoke_token(request).await.expect("revokes").into_inner();
    (answer.enforced_subscribers, answer.subscribers)
}

async fn counted(server: &TestServer, count: i32) {
    let told = async {
        while revoke(server, "no token", Duration::ZERO).await.1 != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{count} subscribers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_revokes_hears_from_the_subscribers_of_all_servers() {
    let first = TestServer::start().await;
    let servers = [first.beside().await, first.beside().await];
    let issuer = format!("http://{}", first.http());
    let verifiers = join_all([&first, &servers[0], &servers[1]].map(async |server| {
        let channel = ChannelOptions::default().balance(&[&format!("http://{}", server.grpc())]).expect("an address");
        let verifier = Verifier::builder(channel, &issuer, "default").clock(server.clock()).build().expect("names");
        tokio::time::timeout(PATIENCE, verifier.ready()).await.expect("keys and revocations");
        verifier
    }));
    let verifiers = verifiers.await;
    for server in [&first, &servers[0], &servers[1]] {
        counted(server, 3).await;
        let pair = server.login("ann", "phone").await;
        join_all(verifiers.iter().map(|verifier| verifier.verify(&pair.access_token))).await;
        assert_eq!(revoke(server, &pair.refresh_token, Duration::from_secs(4)).await, (3, 3));
        let refused = |verifier: &Verifier| matches!(verifier.verify_known(&pair.access_token), Some(Err(_)));
        assert!(verifiers.iter().all(refused), "who was counted enforces it");
    }

    // One that hangs on another server, and never says what it has applied.
    let (says, stream) = mpsc::channel(1);
    let subscribe = v1::RevocationSubscription { client_name: "reports".to_owned(), ..Default::default() };
    says.send(v1::FollowRevocationsRequest { step: Some(Step::Subscribe(subscribe)), ..Default::default() })
        .await
        .expect("room");
    let silent = servers[1].tokens.clone().follow_revocations(ReceiverStream::new(stream)).await.expect("a stream");
    counted(&first, 4).await;
    let pair = first.login("ann", "laptop").await;
    assert_eq!(revoke(&first, &pair.refresh_token, Duration::from_secs(1)).await, (3, 4));

    let store = first.backend().url().to_owned();
    let named = async {
        loop {
            let store = store.clone();
            let said = tokio::task::spawn_blocking(move || answer(&["store", "status", "--store", &store, "--json"]));
            let said = said.await.expect("ran");
            assert_eq!((&said["servers"], &said["subscribers"]), (&3.into(), &4.into()), "{said}");
            if said["lagging"] == 1 {
                return said;
            }
        }
    };
    let said = tokio::time::timeout(PATIENCE, named).await.expect("named in time");
    let lagging = &said["lagging_subscribers"][0];
    assert_eq!((&lagging["name"], &lagging["realm"]), (&"reports".into(), &"default".into()), "{said}");
    assert!(lagging["lag_seconds"].as_u64().expect("seconds") >= 3, "{said}");
    let people = tokio::task::spawn_blocking(move || run(&["store", "status", "--store", &store])).await.expect("ran");
    let people = String::from_utf8_lossy(&people.stdout).into_owned();
    assert!(people.contains("reports in realm default, for "), "{people}");

    drop((silent, says));
    drop(verifiers);
    let [second, third] = servers;
    counted(&first, 0).await;
    join_all([first.stop(), second.stop(), third.stop()]).await;
}
