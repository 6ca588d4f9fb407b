//! Stands between a client and a real server: passes calls on, counts them, loses answers when told.
//! Its key sets and revocations are the test's to send.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use token_authority::client::{AuthorityChannel, ChannelOptions, Verifier, VerifierBuilder};
use token_authority::domain::time::Timestamp;
use token_authority::proto::v1;
use token_authority::proto::v1::follow_revocations_request::Step;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::proto::v1::token_service_server::{TokenService, TokenServiceServer};
use token_authority::proto::v1::watch_revocations_response::Event;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::{UnboundedReceiverStream, WatchStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::test_server::{TestServer, TurnableClock};

/// Generous: what is waited for comes at once on a free machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to one refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never reaches the server.
    NotSent,
    /// The server does it, and the answer is lost.
    AnswerLost,
}

/// One stream of revocations that a client opened.
pub(crate) struct Feed {
    pub(crate) after_revision: String,
    pub(crate) client_name: String,
    events: mpsc::UnboundedSender<Result<v1::FollowRevocationsResponse, Status>>,
    /// What the client says, after its subscription.
    said: tokio::sync::Mutex<Streaming<v1::FollowRevocationsRequest>>,
    messages: AtomicI64,
}

impl Feed {
    /// Each message has its own number as receipt.
    pub(crate) fn send(&self, event: Event) {
        let receipt = self.messages.fetch_add(1, Ordering::SeqCst) + 1;
        let revocations = Some(v1::WatchRevocationsResponse { event: Some(event) });
        self.events.send(Ok(v1::FollowRevocationsResponse { revocations, receipt })).expect("the client listens");
    }

    /// The next receipt.
    pub(crate) async fn receipt(&self) -> i64 {
        self.last_word().await.expect("goes on")
    }

    /// The next receipt; `None` if the client leaves without.
    pub(crate) async fn last_word(&self) -> Option<i64> {
        let said = timeout(PATIENCE, self.said.lock().await.message()).await.expect("in time").ok()??;
        match said.step {
            Some(Step::Applied(applied)) => Some(applied.receipt),
            other => panic!("no receipt: {other:?}"),
        }
    }

    /// Ends the stream with an error.
    pub(crate) fn fail(self, status: Status) {
        self.events.send(Err(status)).expect("the client listens");
    }

    /// Waits until the client has left it.
    pub(crate) async fn left(self) {
        timeout(PATIENCE, self.events.closed()).await.expect("the client leaves");
    }

    /// A whole snapshot.
    pub(crate) fn snapshot(&self, entries: Vec<v1::RevocationEntry>, revision: &str, as_of: Timestamp) {
        self.send(Event::Snapshot(v1::RevocationSnapshot {
            entries,
            complete: true,
            revision: revision.to_owned(),
            as_of_time: Some(wire(as_of)),
        }));
    }

    pub(crate) fn delta(&self, number: i64, entries: Vec<v1::RevocationEntry>, revision: &str, as_of: Timestamp) {
        self.send(Event::Delta(v1::RevocationDelta {
            sequence_number: number,
            entries,
            revision: revision.to_owned(),
            as_of_time: Some(wire(as_of)),
        }));
    }
}

pub(crate) fn wire(time: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.millis().rem_euclid(1000) * 1_000_000).expect("below a second");
    prost_types::Timestamp { seconds: time.seconds(), nanos }
}

pub(crate) struct Relay {
    pub(crate) server: TestServer,
    pub(crate) channel: AuthorityChannel,
    pub(crate) address: String,
    state: Arc<State>,
    feeds: tokio::sync::Mutex<mpsc::UnboundedReceiver<Feed>>,
}

struct State {
    real: TokenServiceClient<Channel>,
    /// Every refresh token that was presented.
    refreshes: Mutex<Vec<String>>,
    faults: Mutex<VecDeque<Fault>>,
    /// A refresh takes one of these.
    gate: Semaphore,
    introspections: AtomicUsize,
    introspects: AtomicBool,
    key_sets: watch::Sender<Vec<u8>>,
    feeds: mpsc::UnboundedSender<Feed>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let server = TestServer::start().await;
        let jwks = server.tokens.clone().get_jwks(v1::GetJwksRequest::default()).await.expect("answers");
        let (feeds, opened) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            real: server.tokens.clone(),
            refreshes: Mutex::default(),
            faults: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            introspections: AtomicUsize::new(0),
            introspects: AtomicBool::new(true),
            key_sets: watch::Sender::new(jwks.into_inner().jwks_json),
            feeds,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let service = TokenServiceServer::new(Shared(state.clone()));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let channel = ChannelOptions::default().balance(&[&address]).expect("an address");
        Self { server, channel, address, state, feeds: tokio::sync::Mutex::new(opened) }
    }

    /// A verifier for the audience `orders` that shares the server's clock.
    pub(crate) fn verifier(&self) -> VerifierBuilder {
        let issuer = format!("http://{}", self.server.http());
        Verifier::builder(self.channel.clone(), &issuer, "orders").clock(self.clock())
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> SocketAddr {
        self.address.trim_start_matches("http://").parse().expect("an address")
    }

    pub(crate) fn clock(&self) -> Arc<TurnableClock> {
        self.server.clock()
    }

    pub(crate) fn now(&self) -> Timestamp {
        use token_authority::clock::Clock as _;
        self.clock().now()
    }

    /// Logs in for the audience `orders`.
    pub(crate) async fn login(&self) -> v1::TokenPair {
        let request = v1::IssueTokenRequest {
            subject: "ann".into(),
            audience: vec!["orders".into()],
            scope: vec!["read".into()],
            ..v1::IssueTokenRequest::default()
        };
        self.server.issue(request).await.expect("issues")
    }

    /// The next stream of revocations that a client opens.
    pub(crate) async fn feed(&self) -> Feed {
        let mut feeds = self.feeds.lock().await;
        timeout(PATIENCE, feeds.recv()).await.expect("a client follows").expect("the relay lives")
    }

    pub(crate) fn refreshes(&self) -> Vec<String> {
        self.state.refreshes.lock().unwrap().clone()
    }

    pub(crate) fn fail_refreshes(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.faults.lock().unwrap().extend(faults);
    }

    /// Lets no refresh through until it is opened.
    pub(crate) fn close_gate(&self) {
        self.state.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn open_gate(&self) {
        self.state.gate.add_permits(1_000);
    }

    pub(crate) fn introspections(&self) -> usize {
        self.state.introspections.load(Ordering::SeqCst)
    }

    pub(crate) fn introspect(&self, works: bool) {
        self.state.introspects.store(works, Ordering::SeqCst);
    }

    pub(crate) fn publish(&self, jwks: &[u8]) {
        self.state.key_sets.send_replace(jwks.to_owned());
    }

    pub(crate) fn published(&self) -> Vec<u8> {
        self.state.key_sets.borrow().clone()
    }
}

/// Waits until something holds.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it holds in the end");
}

struct Shared(Arc<State>);

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl TokenService for Shared {
    type WatchJwksStream = Answers<v1::WatchJwksResponse>;
    type WatchRevocationsStream = Answers<v1::WatchRevocationsResponse>;
    type FollowRevocationsStream = Answers<v1::FollowRevocationsResponse>;

    async fn refresh_token(&self, request: Request<v1::RefreshTokenRequest>) -> Answer<v1::RefreshTokenResponse> {
        let request = request.into_inner();
        self.0.refreshes.lock().unwrap().push(request.refresh_token.clone());
        self.0.gate.acquire().await.expect("never closed").forget();
        let fault = self.0.faults.lock().unwrap().pop_front();
        if fault == Some(Fault::NotSent) {
            return Err(Status::unavailable("not sent"));
        }
        let answer = self.0.real.clone().refresh_token(request).await;
        if fault == Some(Fault::AnswerLost) { Err(Status::unavailable("lost")) } else { answer }
    }

    async fn introspect_token(
        &self,
        request: Request<v1::IntrospectTokenRequest>,
    ) -> Answer<v1::IntrospectTokenResponse> {
        self.0.introspections.fetch_add(1, Ordering::SeqCst);
        if !self.0.introspects.load(Ordering::SeqCst) {
            return Err(Status::unavailable("down"));
        }
        self.0.real.clone().introspect_token(request.into_inner()).await
    }

    async fn get_jwks(&self, _: Request<v1::GetJwksRequest>) -> Answer<v1::GetJwksResponse> {
        let jwks_json = self.0.key_sets.borrow().clone();
        Ok(Response::new(v1::GetJwksResponse { jwks_json, keys: Vec::new() }))
    }

    async fn watch_jwks(&self, _: Request<v1::WatchJwksRequest>) -> Answer<Self::WatchJwksStream> {
        let sets = WatchStream::new(self.0.key_sets.subscribe());
        let sets = sets.map(|jwks_json| Ok(v1::WatchJwksResponse { jwks_json, keys: Vec::new() }));
        Ok(Response::new(Box::pin(sets)))
    }

    async fn watch_revocations(&self, _: Request<v1::WatchRevocationsRequest>) -> Answer<Self::WatchRevocationsStream> {
        Err(Status::unimplemented("the SDK follows"))
    }

    async fn follow_revocations(
        &self,
        request: Request<Streaming<v1::FollowRevocationsRequest>>,
    ) -> Answer<Self::FollowRevocationsStream> {
        let (events, stream) = mpsc::unbounded_channel();
        let mut said = request.into_inner();
        let Some(Step::Subscribe(subscribe)) = said.message().await?.and_then(|said| said.step) else {
            return Err(Status::invalid_argument("no subscription"));
        };
        let v1::RevocationSubscription { after_revision, client_name, .. } = subscribe;
        let (said, messages) = (tokio::sync::Mutex::new(said), AtomicI64::new(0));
        let feed = Feed { after_revision, client_name, events, said, messages };
        self.0.feeds.send(feed).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(stream))))
    }

    async fn issue_token(&self, request: Request<v1::IssueTokenRequest>) -> Answer<v1::IssueTokenResponse> {
        self.0.real.clone().issue_token(request.into_inner()).await
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Answer<v1::RevokeTokenResponse> {
        self.0.real.clone().revoke_token(request.into_inner()).await
    }

    async fn batch_introspect_tokens(
        &self,
        request: Request<v1::BatchIntrospectTokensRequest>,
    ) -> Answer<v1::BatchIntrospectTokensResponse> {
        self.0.real.clone().batch_introspect_tokens(request.into_inner()).await
    }

    async fn batch_revoke_tokens(
        &self,
        request: Request<v1::BatchRevokeTokensRequest>,
    ) -> Answer<v1::BatchRevokeTokensResponse> {
        self.0.real.clone().batch_revoke_tokens(request.into_inner()).await
    }

    async fn revoke_client(&self, request: Request<v1::RevokeClientRequest>) -> Answer<v1::RevokeClientResponse> {
        self.0.real.clone().revoke_client(request.into_inner()).await
    }

    async fn revoke_realm(&self, request: Request<v1::RevokeRealmRequest>) -> Answer<v1::RevokeRealmResponse> {
        self.0.real.clone().revoke_realm(request.into_inner()).await
    }
}
