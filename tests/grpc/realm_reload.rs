//! Realms change while they serve: what is under way goes on, what comes next goes by the new policy, and
//! what is wrong changes nothing.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use token_authority::authority::caller::RegisteredClient;
use token_authority::config::Config;
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::client::{Client, Role};
use token_authority::domain::ids::{Audience, ClientId, RealmName};
use token_authority::domain::one_time_code::{CodeDelivery, CodePolicy};
use token_authority::domain::policy::{Allowed, AtLimit, RealmPolicy};
use token_authority::proto::v1;
use token_authority::proto::v1::otp_service_client::OtpServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::verify::client::SecretHash;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::code_receiver::CodeReceiver;
use crate::server_process::ServerProcess;
use crate::test_server::{TestServer, refusal};

const PATIENCE: Duration = Duration::from_secs(20);

fn realm(name: &str) -> RealmPolicy {
    let audience = Audience::parse("api").expect("an audience");
    let mut policy =
        RealmPolicy::permissive(RealmName::parse(name).expect("a realm"), audience, ClientId::parse("cli").ok());
    policy.algorithm = Algorithm::EdDsa;
    policy
}

fn lifetime(tokens: &v1::TokenPair, now: Duration) -> i64 {
    tokens.access_expire_time.as_ref().expect("a time").seconds - i64::try_from(now.as_secs()).expect("a time of ours")
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_streams_live_on_under_the_new_policy() {
    let server = TestServer::start().await;
    let start = Duration::from_secs(1_800_000_000);
    let before = server.login("ann", "phone").await;
    let mut keys = server.tokens.clone().watch_jwks(v1::WatchJwksRequest::default()).await.unwrap().into_inner();
    keys.message().await.expect("a set").expect("one");

    let changed = server.reload(|config| {
        config.realms[0].access_lifetime = Duration::from_secs(60);
        config.realms.push(realm("added"));
    });
    let changed = changed.await.expect("reloads");
    assert_eq!(changed.iter().map(RealmName::as_str).collect::<Vec<_>>(), ["default", "added"]);

    assert_eq!(lifetime(&before, start), 900);
    assert!(server.introspect(&before.access_token).await.active, "it was issued for longer");
    assert_eq!(lifetime(&server.login("bob", "phone").await, start), 60);
    let after = server.refresh(&before.refresh_token).await.expect("refreshes");
    assert_eq!((lifetime(&after, start), &after.session_id), (60, &before.session_id));
    let request = v1::IssueTokenRequest { realm: "added".into(), subject: "eve".into(), ..Default::default() };
    server.issue(request).await.expect("issues in a realm that was not there");

    server.keys.clone().prepare_key(v1::PrepareKeyRequest::default()).await.expect("prepares");
    let set = tokio::time::timeout(PATIENCE, keys.message()).await.expect("in time").expect("a set").expect("one");
    assert!(!set.keys.is_empty(), "the stream from before tells what came after");
    let again = server.reload(|config| {
        config.realms[0].access_lifetime = Duration::from_secs(30);
        config.realms.push(realm("added"));
    });
    assert_eq!(again.await.expect("reloads"), [RealmName::parse("default").expect("a realm")], "only what changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_defined_stays_until_the_next_start() {
    let server = TestServer::start_configured(|config| {
        config.realms[0].max_sessions = 1;
        config.realms[0].at_limit = AtLimit::Refuse;
        config.realms.push(realm("gone"));
    })
    .await;
    let request = v1::IssueTokenRequest { realm: "gone".into(), subject: "ann".into(), ..Default::default() };
    server.issue(request.clone()).await.expect("issues");
    server.login("ann", "phone").await;
    for _ in 0..2 {
        let changed = server.reload(|config| config.realms = Config::default().realms).await;
        assert_eq!(changed.expect("reloads"), []);
        server.issue(request.clone()).await.expect("still served");
        let other = v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() };
        let refused = server.issue(other).await.expect_err("default is as strict as before");
        assert_eq!(refusal(&refused).1, "SESSION_LIMIT_REACHED");
    }
}

const SECRET: &str = "tas_0123456789abcdef0123456789";

/// Gateways of the default realm, with their secrets.
fn register<'a>(config: &mut Config, clients: &[(&'a str, &[&'a str])]) {
    let gateway = |(id, secrets): &(&str, &[&str])| RegisteredClient {
        client: Client {
            id: ClientId::parse(id).expect("a client"),
            grants: [].into(),
            audiences: Allowed::Any,
            scopes: Allowed::Any,
            roles: [Role::Gateway, Role::Introspector].into(),
        },
        secrets: secrets.iter().filter_map(|secret| SecretHash::of(secret)).collect(),
        keys: Vec::new(),
        certificates: Vec::new(),
        service_accounts: Vec::new(),
    };
    config.clients.insert(RealmName::parse("default").expect("a realm"), clients.iter().map(gateway).collect());
}

/// A call as a client makes it.
fn called_by<T>(client: &str, secret: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let proof = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{client}:{secret}"));
    request.metadata_mut().insert("authorization", format!("Basic {proof}").parse().expect("ASCII"));
    request
}

/// What an operator or a client is told of revocations.
async fn watch(server: &TestServer, client: Option<&str>) -> Streaming<v1::WatchRevocationsResponse> {
    let message = v1::WatchRevocationsRequest::default();
    let request = match client {
        Some(client) => called_by(client, SECRET, message),
        None => Request::new(message),
    };
    let mut stream = server.tokens.clone().watch_revocations(request).await.expect("watches").into_inner();
    stream.message().await.expect("goes on").expect("a snapshot");
    stream
}

async fn end(mut stream: Streaming<v1::WatchRevocationsResponse>) -> Status {
    let ended = async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_registration_that_let_it_in() {
    let server = TestServer::start().await;
    let unauthenticated = (Code::Unauthenticated, "CLIENT_NOT_AUTHENTICATED".to_owned());
    let operators = watch(&server, None).await;
    server.reload(|config| register(config, &[("stays", &[SECRET]), ("goes", &[SECRET])])).await.expect("reloads");
    assert_eq!(refusal(&end(operators).await), unauthenticated, "a realm with clients has no operator");

    let (mut stays, goes) = (watch(&server, Some("stays")).await, watch(&server, Some("goes")).await);
    server.reload(|config| register(config, &[("stays", &[SECRET])])).await.expect("reloads");
    assert_eq!(refusal(&end(goes).await), unauthenticated);
    // Longer than the one that ended was looked at.
    for _ in 0..3 {
        let message = tokio::time::timeout(PATIENCE, stays.message()).await.expect("in time");
        message.expect("goes on").expect("goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_call_after_a_secret_was_replaced_needs_the_new_one() {
    const NEW: &str = "tas_another_0123456789abcdef0123";
    let app = |secrets: &'static [&str]| [("stays", &[SECRET][..]), ("app", secrets)];
    let server = TestServer::start_configured(|config| register(config, &app(&[SECRET]))).await;
    let mut open = watch(&server, Some("stays")).await;
    for (secrets, old, new) in [(&[SECRET][..], true, false), (&[SECRET, NEW], true, true), (&[NEW], false, true)] {
        server.reload(|config| register(config, &app(secrets))).await.expect("reloads");
        for (secret, taken) in [(SECRET, old), (NEW, new)] {
            let request = v1::IntrospectTokenRequest { token: "any".into(), ..Default::default() };
            let answer = server.tokens.clone().introspect_token(called_by("app", secret, request)).await;
            let refused = answer.map_err(|status| refusal(&status).1).err();
            assert_eq!(refused, (!taken).then(|| "CLIENT_NOT_AUTHENTICATED".to_owned()), "{secrets:?}: {secret}");
        }
    }
    // A stream of the same connection.
    let message = tokio::time::timeout(PATIENCE, open.message()).await.expect("in time");
    message.expect("the connection was kept").expect("goes on");
}

/// Without clients a call that shows nothing is the operator's.
#[tokio::test(flavor = "multi_thread")]
async fn no_reload_opens_a_realm_that_had_clients() {
    let server = TestServer::start_configured(|config| register(config, &[("app", &[SECRET])])).await;
    let refused = async || {
        let request = v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() };
        server.issue(request).await.expect_err("who shows nothing is nobody").code()
    };
    assert_eq!(refused().await, Code::Unauthenticated);
    let emptied = server.reload(|config| config.clients.values_mut().for_each(Vec::clear)).await;
    assert!(emptied.expect_err("refused").to_string().contains("no client any more"));
    assert_eq!(refused().await, Code::Unauthenticated);
    // As where the file is gone.
    server.reload(|config| config.clients.clear()).await.expect("the realm stays as it was");
    assert_eq!(refused().await, Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_realm_with_codes_needs_no_restart() {
    let (server, receiver) = (TestServer::start().await, CodeReceiver::start().await);
    let channel = Channel::from_shared(format!("http://{}", server.grpc())).expect("an address");
    let mut codes = OtpServiceClient::new(channel.connect().await.expect("connects"));
    let mut ask = async || {
        let request = v1::RequestCodeRequest { recipient: "+4915112345678".into(), ..Default::default() };
        codes.request_code(request).await
    };
    let unreadable = CodeDelivery::Webhook { url: "http://localhost/".into(), secret_file: "no/secret".into() };
    let wrong = CodePolicy { delivery: unreadable, ..receiver.policy() };
    let refused = server.reload(|config| config.realms[0].codes = Some(wrong)).await.expect_err("no secret");
    assert!(refused.to_string().starts_with("otp.webhook_secret_file no/secret: "), "{refused}");
    assert_eq!(refusal(&ask().await.expect_err("as before")).1, "CODES_NOT_OFFERED");
    server.reload(|config| config.realms[0].codes = Some(receiver.policy())).await.expect("reloads");
    ask().await.expect("a code");
    assert_eq!(receiver.next().await.data("recipient"), "+4915112345678");
}

/// A realm with a new algorithm goes on signing by the old one, as at a start: verifiers don't know the key yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_algorithm_is_published_before_it_signs() {
    let server = TestServer::start_with(|policy| policy.algorithm = Algorithm::EdDsa).await;
    let algorithms = async || {
        let set = server.tokens.clone().get_jwks(v1::GetJwksRequest::default()).await.expect("answers").into_inner();
        set.keys.into_iter().map(|key| key.alg).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(algorithms().await, ["EdDSA".to_owned()].into());
    server.reload(|config| config.realms[0].algorithm = Algorithm::Es256).await.expect("reloads");
    assert_eq!(algorithms().await, ["ES256".to_owned(), "EdDSA".to_owned()].into());
    let token = server.login("ann", "phone").await.access_token;
    assert!(server.introspect(&token).await.active);
    let header = token.split('.').next().expect("three parts");
    let header = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header).expect("base64url");
    assert!(String::from_utf8_lossy(&header).contains("EdDSA"), "{header:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reads_all_files_and_a_bad_one_changes_nothing() {
    let directory = TempDir::new().expect("a directory");
    let realms = directory.path().join("realms");
    fs::create_dir(&realms).expect("makes");
    let write = |file: &str, lines: &str| fs::write(realms.join(file), format!("[realm]\n{lines}\n")).expect("writes");
    write("a.toml", "name = \"a\"\nalgorithm = \"EdDSA\"");
    let server = ServerProcess::start_in(directory.path(), &["--realms", realms.to_str().expect("UTF-8")]);
    let channel = Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects");
    let mut client = TokenServiceClient::new(channel);
    let mut lifetime = async |realm: &str| {
        let request = v1::IssueTokenRequest { realm: realm.into(), subject: "ann".into(), ..Default::default() };
        let tokens = client.issue_token(request).await?.into_inner().tokens.expect("tokens");
        let answer = client
            .introspect_token(v1::IntrospectTokenRequest {
                realm: realm.into(),
                token: tokens.access_token,
                ..Default::default()
            })
            .await?
            .into_inner();
        Ok::<_, Status>(answer.expire_time.expect("exp").seconds - answer.issue_time.expect("iat").seconds)
    };
    assert_eq!(lifetime("a").await.expect("issues"), 900);

    write("a.toml", "name = \"a\"\nalgorithm = \"EdDSA\"\naccess_lifetime = \"1m\"");
    write("b.toml", "name = \"b\"\nalgorithm = \"EdDSA\"\nacces_lifetime = \"1m\"");
    server.send_signal("HUP");
    server.wait_for_line("b.toml:4: realm.acces_lifetime: unknown key", PATIENCE);
    assert_eq!(lifetime("a").await.expect("issues"), 900, "not even the file that is right");
    assert_eq!(refusal(&lifetime("b").await.expect_err("not there")).1, "UNKNOWN_REALM");

    write("b.toml", "name = \"b\"\nalgorithm = \"EdDSA\"");
    server.send_signal("HUP");
    server.wait_for_line("the realms were read again", PATIENCE);
    assert_eq!(lifetime("a").await.expect("issues over the same connection"), 60);
    assert_eq!(lifetime("b").await.expect("issues"), 900);
}
