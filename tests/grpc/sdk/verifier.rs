//! Keys as a verifier holds them: rotation is seen, what was good stays, and invented keys cost the
//! authority next to nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use token_authority::client::{FetchKeys, NotAuthenticated, NotFetched, Outage, Rejection, Verifier, WhenStale};
use token_authority::proto::v1;
use token_authority::verify;
use tonic::codegen::BoxFuture;

use super::relay::{Relay, until};

const NO_KEYS: &[u8] = b"{\"keys\":[]}";
const UNKNOWN_KEY: Rejection = Rejection::NotAuthenticated(NotAuthenticated::Token(verify::Rejection::UnknownKey));
const EVERY: Duration = Duration::from_secs(30);

/// A key set that the test changes; `None` while it is away.
#[derive(Debug, Clone, Default)]
struct Published {
    set: Arc<Mutex<Option<Vec<u8>>>>,
    reads: Arc<AtomicUsize>,
}

impl FetchKeys for Published {
    fn fetch(&self) -> BoxFuture<Vec<u8>, NotFetched> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let set = self.set.lock().unwrap().clone();
        Box::pin(async move { set.ok_or_else(|| NotFetched("away".to_owned())) })
    }
}

impl Published {
    fn publish(&self, set: Option<&[u8]>) {
        *self.set.lock().unwrap() = set.map(<[u8]>::to_owned);
    }
}

/// A verifier that does not mind the missing feed.
fn verifier(relay: &Relay, published: &Published) -> Verifier {
    let builder = relay.verifier().max_staleness(Duration::ZERO, WhenStale::Accept);
    builder.fetch_keys(published.clone()).reread_keys_every(EVERY).build().expect("names")
}

/// Well-formed, and of a key that nobody has.
fn invented(number: usize) -> String {
    let header = format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"invented-{number}"}}"#);
    format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_and_good_ones_outlive_an_outage() {
    let (relay, published) = (Relay::start().await, Published::default());
    published.publish(Some(NO_KEYS));
    let verifier = verifier(&relay, &published);
    until(|| published.reads.load(Ordering::SeqCst) == 1).await;
    let token = relay.login().await.access_token;
    relay.server.pass(EVERY);
    published.publish(Some(&relay.published()));
    verifier.verify(&token).await.expect("the key is found when it is needed");

    published.publish(None);
    relay.server.pass(EVERY);
    let unavailable = Err(Rejection::Unavailable(Outage::Keys));
    assert_eq!(verifier.verify(&invented(0)).await, unavailable, "it might be a new key");
    verifier.verify(&token).await.expect("the last good keys stay");
    published.publish(Some(b"<html>not a key set</html>"));
    relay.server.pass(EVERY);
    assert_eq!(verifier.verify(&invented(0)).await, unavailable);
    verifier.verify(&token).await.expect("what is no key set changes nothing");

    published.publish(Some(NO_KEYS));
    relay.server.pass(EVERY);
    assert_eq!(verifier.verify(&invented(0)).await, Err(UNKNOWN_KEY));
    assert_eq!(verifier.verify(&token).await, Err(UNKNOWN_KEY), "a key that is withdrawn ends its cached tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_invented_keys_is_one_read_an_interval() {
    let (relay, published) = (Relay::start().await, Published::default());
    published.publish(Some(&relay.published()));
    let verifier = verifier(&relay, &published);
    until(|| published.reads.load(Ordering::SeqCst) == 1).await;
    for interval in 0..3 {
        let mut flood = tokio::task::JoinSet::new();
        for number in 0..300 {
            let verifier = verifier.clone();
            flood.spawn(async move { verifier.verify(&invented(number)).await });
        }
        assert_eq!(flood.join_all().await, vec![Err(UNKNOWN_KEY); 300]);
        assert_eq!(published.reads.load(Ordering::SeqCst), 1 + interval);
        relay.server.pass(EVERY);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_keys_nothing_is_known_rather_than_wrong() {
    let (relay, published) = (Relay::start().await, Published::default());
    let verifier = verifier(&relay, &published);
    let token = relay.login().await.access_token;
    assert_eq!(verifier.verify(&token).await, Err(Rejection::Unavailable(Outage::Keys)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_tells_of_each_change_of_keys() {
    let relay = Relay::start().await;
    let verifier = relay.verifier().max_staleness(Duration::ZERO, WhenStale::Accept).build().expect("names");
    let token = relay.login().await.access_token;
    until(|| matches!(verifier.verify_known(&token), Some(Ok(_)))).await;
    let keys = relay.published();
    relay.publish(NO_KEYS);
    until(|| verifier.verify_known(&token).is_none()).await;
    relay.publish(&keys);
    until(|| matches!(verifier.verify_known(&token), Some(Ok(_)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_this_service_and_for_its_bearer() {
    let relay = Relay::start().await;
    let verifier = relay.verifier().max_staleness(Duration::ZERO, WhenStale::Accept).build().expect("names");
    let issue = |audience: &str, confirmation| v1::IssueTokenRequest {
        subject: "ann".into(),
        audience: vec![audience.to_owned()],
        confirmation,
        ..Default::default()
    };
    let thumbprint = v1::confirmation::Thumbprint::JwkThumbprint(URL_SAFE_NO_PAD.encode([7; 32]));
    let bound = Some(v1::Confirmation { thumbprint: Some(thumbprint) });
    for (request, expected) in [
        (issue("billing", None), NotAuthenticated::WrongAudience),
        (issue("orders", bound), NotAuthenticated::BoundToKey),
    ] {
        let token = relay.server.issue(request).await.expect("issues").access_token;
        assert_eq!(verifier.verify(&token).await, Err(Rejection::NotAuthenticated(expected)));
    }
    let token = relay.login().await.access_token;
    let identity = verifier.verify(&token).await.expect("valid");
    assert_eq!((identity.subject().as_str(), identity.has_scope("read")), ("ann", true));
    relay.server.pass(Duration::from_secs(900));
    let expired = NotAuthenticated::Token(verify::Rejection::Expired);
    assert_eq!(verifier.verify(&token).await, Err(Rejection::NotAuthenticated(expired)));
}
