//! `WatchSessions` over real tonic: a snapshot, then what happens, however slow the watcher is.

use std::time::Duration;

use token_authority::proto::v1;
use token_authority::proto::v1::SessionChangeKind as Kind;
use token_authority::proto::v1::watch_sessions_response::Event;
use tonic::{Code, Request, Status, Streaming};

use crate::test_server::{TestServer, refusal};

/// What a test waits for comes long before that.
const PATIENCE: Duration = Duration::from_secs(20);

/// One who watches.
pub(crate) struct Watch(Streaming<v1::WatchSessionsResponse>);

impl Watch {
    /// With the sessions of the snapshot.
    pub(crate) async fn of(server: &TestServer, subject: &str) -> (Self, Vec<v1::Session>) {
        Self::open(server, Request::new(request(subject))).await
    }

    /// The same as the bearer of an access token.
    async fn by_bearer(server: &TestServer, subject: &str, token: &str) -> (Self, Vec<v1::Session>) {
        let mut request = Request::new(request(subject));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
        Self::open(server, request).await
    }

    async fn open(server: &TestServer, request: Request<v1::WatchSessionsRequest>) -> (Self, Vec<v1::Session>) {
        let mut watch = Self(server.sessions.clone().watch_sessions(request).await.expect("watches").into_inner());
        match watch.event().await {
            Event::Snapshot(snapshot) => (watch, snapshot.sessions),
            other => panic!("a snapshot comes first: {other:?}"),
        }
    }

    async fn event(&mut self) -> Event {
        let message = tokio::time::timeout(PATIENCE, self.0.message()).await.expect("in time");
        message.expect("goes on").expect("goes on").event.expect("an event")
    }

    /// The next change.
    pub(crate) async fn change(&mut self) -> (Kind, v1::SessionChange) {
        loop {
            match self.event().await {
                Event::Change(change) => return (change.kind(), change),
                Event::Heartbeat(_) => {}
                Event::Snapshot(_) => panic!("a snapshot without a gap"),
            }
        }
    }

    async fn expect(&mut self, kind: Kind, session_id: &str) -> v1::SessionChange {
        let (told, change) = self.change().await;
        assert_eq!((told, id(&change)), (kind, session_id));
        change
    }

    /// Why it ends.
    async fn end(mut self) -> Status {
        let ended = async {
            loop {
                if let Err(status) = self.0.message().await {
                    return status;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("ends")
    }
}

fn request(subject: &str) -> v1::WatchSessionsRequest {
    v1::WatchSessionsRequest { subject: subject.into(), ..Default::default() }
}

fn id(change: &v1::SessionChange) -> &str {
    change.session.as_ref().map_or("", |session| &session.session_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_told_of_everything_that_happens_to_the_sessions() {
    let server = TestServer::start().await;
    let laptop = server.login("ann", "laptop").await;
    let (mut watch, snapshot) = Watch::of(&server, "ann").await;
    assert_eq!(snapshot, server.sessions_of("ann").await);
    server.login("bob", "laptop").await;

    let phone = server.login("ann", "phone").await;
    watch.expect(Kind::Opened, &phone.session_id).await;
    server.pass(Duration::from_secs(5));
    server.refresh(&laptop.refresh_token).await.expect("refreshes");
    let refreshed = watch.expect(Kind::Refreshed, &laptop.session_id).await;
    assert_eq!(refreshed.session.expect("a session").generation, 1);
    assert_eq!(refreshed.change_time.expect("a time").seconds, 1_800_000_005);

    let claims = Some(prost_types::Struct::default());
    let update = v1::UpdateSessionClaimsRequest { session_id: phone.session_id.clone(), claims, ..Default::default() };
    server.sessions.clone().update_session_claims(update).await.expect("updates");
    watch.expect(Kind::Updated, &phone.session_id).await;
    let trust = v1::TrustDeviceRequest { subject: "ann".into(), device_id: "phone".into(), ..Default::default() };
    server.sessions.clone().trust_device(trust).await.expect("trusts");
    let trusted = watch.expect(Kind::Updated, &phone.session_id).await;
    assert!(trusted.session.expect("a session").trusted);

    let forget = v1::ForgetDeviceRequest { subject: "ann".into(), device_id: "phone".into(), ..Default::default() };
    server.sessions.clone().forget_device(forget).await.expect("forgets");
    watch.expect(Kind::Ended, &phone.session_id).await;
    let erase = v1::EraseSubjectRequest { subject: "ann".into(), ..Default::default() };
    server.sessions.clone().erase_subject(erase).await.expect("erases");
    watch.expect(Kind::Ended, &laptop.session_id).await;
    server.pass(Duration::from_secs(1));
    let confirmed = async {
        loop {
            match watch.event().await {
                Event::Heartbeat(heartbeat) if heartbeat.as_of_time.expect("a time").seconds == 1_800_000_006 => return,
                Event::Heartbeat(_) => {}
                other => panic!("nothing more happens: {other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, confirmed).await.expect("is told that nothing is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_commit_tells_is_told_all_the_same() {
    const MINUTE: Duration = Duration::from_secs(60);
    let server = TestServer::start_with(|policy| {
        policy.idle_timeout = Some(30 * MINUTE);
        policy.devices.trust_lifetime = 10 * MINUTE;
    })
    .await;
    let phone = server.login("ann", "phone").await;
    let trust = v1::TrustDeviceRequest { subject: "ann".into(), device_id: "phone".into(), ..Default::default() };
    server.sessions.clone().trust_device(trust).await.expect("trusts");
    let (mut watch, snapshot) = Watch::of(&server, "ann").await;
    assert!(snapshot[0].trusted);
    server.pass(10 * MINUTE);
    let lapsed = watch.expect(Kind::Updated, &phone.session_id).await;
    assert!(!lapsed.session.expect("a session").trusted);
    server.pass(25 * MINUTE);
    let ended = watch.expect(Kind::Ended, &phone.session_id).await;
    assert_eq!(ended.change_time.expect("a time").seconds, 1_800_000_000 + 1_800, "when it went idle");

    let other = server.login("ann", "tv").await;
    // The record is changed by this login, which forgets what was idle.
    watch.expect(Kind::Opened, &other.session_id).await;
    let revoke = v1::RevokeClientRequest { client_id: "cli".into(), ..Default::default() };
    server.tokens.clone().revoke_client(revoke).await.expect("revokes");
    watch.expect(Kind::Ended, &other.session_id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_who_reads_late_ends_up_right() {
    const REFRESHES: i64 = 30;
    let server = TestServer::start().await;
    let (mut watch, _) = Watch::of(&server, "ann").await;
    let mut pair = server.login("ann", "phone").await;
    for _ in 0..REFRESHES {
        pair = server.refresh(&pair.refresh_token).await.expect("refreshes");
    }
    let mut generation = -1;
    while generation < REFRESHES {
        let session = watch.change().await.1.session.expect("a session");
        assert!(session.generation > generation, "never back");
        generation = session.generation;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_server() {
    let server = TestServer::start().await;
    let (watch, sessions) = Watch::of(&server, "nobody").await;
    assert_eq!(sessions, []);
    let stopping = tokio::spawn(server.stop());
    assert_eq!(refusal(&watch.end().await), (Code::Unavailable, "STOPPING".into()));
    stopping.await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearers_watch_ends_with_its_token() {
    let server = TestServer::start().await;
    let stolen = server.login("ann", "phone").await;
    let (mut watch, _) = Watch::by_bearer(&server, "ann", &stolen.access_token).await;
    server.pass(Duration::from_secs(899));
    let laptop = server.login("ann", "laptop").await;
    watch.expect(Kind::Opened, &laptop.session_id).await;
    server.pass(Duration::from_secs(1));
    assert_eq!(refusal(&watch.end().await), (Code::Unauthenticated, "CLIENT_NOT_AUTHENTICATED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearers_watch_ends_with_its_session() {
    let server = TestServer::start().await;
    let stolen = server.login("ann", "phone").await;
    let laptop = server.login("ann", "laptop").await;
    let (watch, _) = Watch::by_bearer(&server, "ann", &stolen.access_token).await;
    let (mut others, _) = Watch::by_bearer(&server, "ann", &laptop.access_token).await;
    let revoke = v1::RevokeSessionRequest { session_id: stolen.session_id.clone(), ..Default::default() };
    server.sessions.clone().revoke_session(revoke).await.expect("revokes");
    assert_eq!(refusal(&watch.end().await), (Code::Unauthenticated, "CLIENT_NOT_AUTHENTICATED".into()));
    others.expect(Kind::Ended, &stolen.session_id).await;
    let tv = server.login("ann", "tv").await;
    others.expect(Kind::Opened, &tv.session_id).await;
}
