//! Login by one-time codes: requested, delivered, tried, used up.

use std::net::TcpListener;
use std::time::Duration;

use axum::http::StatusCode;
use token_authority::domain::ids::RealmName;
use token_authority::domain::one_time_code::{CodeDelivery, CodePolicy};
use token_authority::proto::v1;
use token_authority::proto::v1::otp_service_client::OtpServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::code_receiver::{CodeReceiver, Received};
use crate::test_server::{TestServer, refusal};

const ANN: &str = "+4915112345678";
const MINUTE: Duration = Duration::from_secs(60);

struct Scene {
    server: TestServer,
    codes: OtpServiceClient<Channel>,
    receiver: CodeReceiver,
}

impl Scene {
    async fn start() -> Self {
        Self::with(CodeReceiver::start().await).await
    }

    async fn with(receiver: CodeReceiver) -> Self {
        let codes = receiver.policy();
        let server = TestServer::start_with(|policy| policy.codes = Some(codes)).await;
        let channel = Channel::from_shared(format!("http://{}", server.grpc())).expect("an address");
        Self { codes: OtpServiceClient::new(channel.connect().await.expect("connects")), server, receiver }
    }

    async fn ask(&self, recipient: &str) -> Result<v1::RequestCodeResponse, Status> {
        let request = v1::RequestCodeRequest { recipient: recipient.to_owned(), ..Default::default() };
        Ok(self.codes.clone().request_code(request).await?.into_inner())
    }

    /// Asks for a code; what arrives.
    async fn sent(&self, recipient: &str) -> Received {
        self.ask(recipient).await.expect("a code");
        self.receiver.next().await
    }

    async fn verify(&self, request: v1::VerifyCodeRequest) -> Result<v1::TokenPair, Status> {
        Ok(self.codes.clone().verify_code(request).await?.into_inner().tokens.expect("tokens"))
    }

    async fn try_code(&self, recipient: &str, code: &str) -> Result<v1::TokenPair, Status> {
        self.verify(attempt(recipient, code)).await
    }
}

fn attempt(recipient: &str, code: &str) -> v1::VerifyCodeRequest {
    v1::VerifyCodeRequest {
        recipient: recipient.to_owned(),
        code: code.to_owned(),
        subject: "ann".to_owned(),
        ..Default::default()
    }
}

fn wrong(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().expect("digits") + 1) % 1_000_000)
}

fn invalid() -> (Code, String) {
    (Code::InvalidArgument, "CODE_INVALID".to_owned())
}

fn locked_for(status: &Status) -> Duration {
    assert_eq!(refusal(status), (Code::ResourceExhausted, "CODE_LOCKED".to_owned()));
    status.get_details_retry_info().expect("a RetryInfo").retry_delay.expect("a delay")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_arrives_signed_and_opens_one_session() {
    let scene = Scene::start().await;
    let request = v1::RequestCodeRequest { recipient: ANN.into(), client_id: "app".into(), ..Default::default() };
    let answer = scene.codes.clone().request_code(request).await.expect("a code").into_inner();
    assert_eq!(answer.expire_time.expect("a time").seconds, 1_800_000_300);
    let message = scene.receiver.next().await;
    assert!(message.id.starts_with("msg_") && message.time == 1_800_000_000, "{message:?}");
    assert_eq!(message.body["type"], "one_time_code.requested");
    assert_eq!(message.body["timestamp"], "2027-01-15T08:00:00.000Z");
    let said = ["realm", "recipient", "client_id", "expire_time"].map(|name| message.data(name));
    assert_eq!(said, ["default", ANN, "app", "2027-01-15T08:05:00.000Z"]);
    let code = message.data("code");
    assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");

    let claims = [("phone_number".to_owned(), text(ANN)), ("role".to_owned(), text("user"))].into();
    let login = v1::VerifyCodeRequest { claims: Some(prost_types::Struct { fields: claims }), ..attempt(ANN, code) };
    let tokens = scene.verify(login).await.expect("the right code");
    let seen = scene.server.introspect(&tokens.access_token).await;
    assert_eq!((seen.active, seen.subject.as_str()), (true, "ann"));
    assert_eq!(seen.claims.expect("claims").fields["phone_number"], text(ANN));
    scene.server.refresh(&tokens.refresh_token).await.expect("a session as any");
    assert_eq!(refusal(&scene.try_code(ANN, code).await.expect_err("used up")), invalid());
    assert_eq!(scene.server.sessions_of("ann").await.len(), 1);
}

fn text(text: &str) -> prost_types::Value {
    prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.to_owned())) }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_bring_one_code_one_gets_in() {
    let scene = Scene::start().await;
    let message = scene.sent(ANN).await;
    let code = message.data("code");
    let attempts = futures::future::join_all((0..32).map(|_| scene.try_code(ANN, code))).await;
    assert_eq!(attempts.iter().filter(|attempt| attempt.is_ok()).count(), 1, "{attempts:?}");
    assert_eq!(scene.server.sessions_of("ann").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_answer_was_lost_is_repeated_by_its_request_id() {
    let scene = Scene::start().await;
    let message = scene.sent(ANN).await;
    let named = |id: &str| v1::VerifyCodeRequest { request_id: id.into(), ..attempt(ANN, message.data("code")) };
    let first = scene.verify(named("1")).await.expect("the right code");
    let again = scene.verify(named("1")).await.expect("the same call");
    assert_eq!(first.session_id, again.session_id);
    assert_eq!(refusal(&scene.verify(named("2")).await.expect_err("another call")), invalid());
    assert_eq!(scene.server.sessions_of("ann").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_wrong_codes_lock_for_fifteen_minutes_and_a_code_lives_for_five() {
    let scene = Scene::start().await;
    let message = scene.sent(ANN).await;
    let code = message.data("code");
    for _ in 0..2 {
        assert_eq!(refusal(&scene.try_code(ANN, &wrong(code)).await.expect_err("wrong")), invalid());
    }
    assert_eq!(locked_for(&scene.try_code(ANN, &wrong(code)).await.expect_err("the third")), 15 * MINUTE);
    scene.server.pass(MINUTE);
    assert_eq!(locked_for(&scene.try_code(ANN, code).await.expect_err("locked")), 14 * MINUTE);
    assert_eq!(locked_for(&scene.ask(ANN).await.expect_err("locked")), 14 * MINUTE);
    assert!(scene.receiver.is_empty().await);
    scene.server.pass(14 * MINUTE);
    let message = scene.sent(ANN).await;
    scene.server.pass(5 * MINUTE);
    assert_eq!(refusal(&scene.try_code(ANN, message.data("code")).await.expect_err("expired")), invalid());
    let message = scene.sent(ANN).await;
    scene.server.pass(5 * MINUTE - Duration::from_millis(1));
    scene.try_code(ANN, message.data("code")).await.expect("its last millisecond");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_wrong_codes_in_a_row_lock_for_a_day() {
    let scene = Scene::start().await;
    // No code is out, which nobody is told.
    let guess = async || scene.try_code(ANN, "000000").await.expect_err("wrong");
    for _ in 0..33 {
        for _ in 0..2 {
            assert_eq!(refusal(&guess().await), invalid());
        }
        assert_eq!(locked_for(&guess().await), 15 * MINUTE);
        scene.server.pass(15 * MINUTE);
    }
    let day = 24 * 60 * MINUTE;
    for _ in 0..2 {
        assert_eq!(locked_for(&guess().await), day);
        assert_eq!(locked_for(&scene.ask(ANN).await.expect_err("locked")), day);
        scene.server.pass(day);
    }
    let message = scene.sent(ANN).await;
    scene.try_code(ANN, message.data("code")).await.expect("the right one");
    assert_eq!(refusal(&guess().await), invalid(), "one wrong one is none too many any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_for_whom_there_is_a_code() {
    let scene = Scene::start().await;
    let message = scene.sent(ANN).await;
    scene.server.login("ann", "phone").await;
    let mut answers = Vec::new();
    for recipient in [ANN, "+4915100000000"] {
        for _ in 0..4 {
            let status = scene.try_code(recipient, &wrong(message.data("code"))).await.expect_err("wrong");
            answers.push((status.code(), status.message().to_owned(), status.details().to_vec()));
        }
    }
    assert_eq!(answers[..4], answers[4..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_login_uses_no_code_up() {
    let scene = Scene::start().await;
    let message = scene.sent(ANN).await;
    let code = message.data("code");
    let registered = [("sub".to_owned(), text("bob"))].into();
    let login =
        v1::VerifyCodeRequest { claims: Some(prost_types::Struct { fields: registered }), ..attempt(ANN, code) };
    assert_eq!(refusal(&scene.verify(login).await.expect_err("a registered claim")).1, "CLAIM_NOT_ALLOWED");
    scene.try_code(ANN, code).await.expect("still good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_gets_so_many_codes_and_no_more() {
    let scene = Scene::start().await;
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(scene.sent(ANN).await.data("code").to_owned());
    }
    let refused = scene.ask(ANN).await.expect_err("too many");
    assert_eq!(refusal(&refused), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    let quota = refused.get_details_quota_failure().expect("a QuotaFailure");
    assert_eq!(quota.violations[0].subject, "codes_by_recipient");
    scene.sent("+4915100000000").await;
    scene.server.pass(3 * MINUTE);
    scene.sent(ANN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_until_it_is_taken_or_refused() {
    let scene = Scene::with(CodeReceiver::answering(&[StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS]).await);
    let scene = scene.await;
    let tries = [scene.sent(ANN).await, scene.receiver.next().await, scene.receiver.next().await];
    assert!(tries.iter().all(|message| message.id == tries[0].id), "{tries:?}");
    scene.try_code(ANN, tries[2].data("code")).await.expect("the code that was sent");
    let scene = Scene::with(CodeReceiver::answering(&[StatusCode::FORBIDDEN]).await).await;
    scene.sent(ANN).await;
    let next = scene.sent("+4915100000000").await;
    assert_eq!(next.data("recipient"), "+4915100000000", "what is refused is not sent again");
}

/// Waits until `/metrics` has this line.
async fn metered(server: &TestServer, line: &str) {
    let metered = async { while !server.metrics().await.lines().any(|other| other == line) {} };
    tokio::time::timeout(Duration::from_secs(20), metered).await.expect(line);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_is_counted_once_by_how_it_ended() {
    let answers = [StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY];
    let scene = Scene::with(CodeReceiver::answering(&answers).await).await;
    let waiting = |codes| format!("one_time_codes_waiting{{realm=\"default\"}} {codes}");
    scene.sent(ANN).await;
    metered(&scene.server, &waiting(0)).await;
    scene.sent(ANN).await;
    metered(&scene.server, &waiting(1)).await;
    // Void before it is tried again.
    scene.server.pass(5 * MINUTE);
    metered(&scene.server, &waiting(0)).await;
    for _ in 0..2 {
        scene.sent(ANN).await;
    }
    for (outcome, codes) in [("delivered", 2), ("refused", 1), ("failed", 1)] {
        let deliveries = "one_time_code_deliveries_total{realm=\"default\",outcome=";
        metered(&scene.server, &format!("{deliveries}\"{outcome}\"}} {codes}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_hangs_keeps_no_other_realm_waiting() {
    // Connections are accepted by the kernel, and nobody ever answers.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let receiver = CodeReceiver::start().await;
    let codes = receiver.policy();
    let url = format!("http://{}/", hanging.local_addr().expect("an address"));
    let stuck = CodeDelivery::Webhook { url, secret_file: receiver.secret_file() };
    let server = TestServer::start_configured(|config| {
        let mut other = config.realms[0].clone();
        other.realm = RealmName::parse("hanging").expect("a realm");
        other.codes = Some(CodePolicy { delivery: stuck, ..codes.clone() });
        config.realms[0].codes = Some(codes);
        config.realms.push(other);
    })
    .await;
    let channel = Channel::from_shared(format!("http://{}", server.grpc())).expect("an address");
    let scene = Scene { codes: OtpServiceClient::new(channel.connect().await.expect("connects")), server, receiver };
    let many = (0..200).map(|number| v1::RequestCodeRequest {
        realm: "hanging".into(),
        recipient: format!("+49170{number}"),
        ..Default::default()
    });
    let asked = many.map(|request| async { scene.codes.clone().request_code(request).await });
    futures::future::try_join_all(asked).await.expect("codes that wait");
    metered(&scene.server, "one_time_codes_waiting{realm=\"hanging\"} 200").await;
    assert_eq!(scene.sent(ANN).await.data("recipient"), ANN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_that_says_nothing_sends_no_codes() {
    let server = TestServer::start().await;
    let channel = Channel::from_shared(format!("http://{}", server.grpc())).expect("an address");
    let mut codes = OtpServiceClient::new(channel.connect().await.expect("connects"));
    let request = v1::RequestCodeRequest { recipient: ANN.into(), ..Default::default() };
    let none = (Code::FailedPrecondition, "CODES_NOT_OFFERED".to_owned());
    assert_eq!(refusal(&codes.request_code(request).await.expect_err("none")), none);
    assert_eq!(refusal(&codes.verify_code(attempt(ANN, "123456")).await.expect_err("none")), none);
}
