//! Every call by every kind of caller, over both edges: the calls are read from the descriptors and the
//! routes, what is to become of each is written down here.

use std::collections::BTreeSet;

use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};
use token_authority::authority::authorization::table;
use token_authority::proto::{FILE_DESCRIPTOR_SET, v1};
use tonic::codegen::Bytes;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::certificates::Authority;
use crate::raw_call::send;

use expectations::{ENDPOINTS, METHODS, Outcome};
use server::{SECRET, Scene, basic};

mod expectations;
mod server;

/// A kind of caller, in the cell that is asked.
struct Caller {
    name: String,
    channel: Channel,
    authorization: Option<String>,
    /// What it holds in the realm `default`, or what becomes of each of its calls.
    holds: Result<Vec<&'static str>, Outcome>,
    /// Whose sessions it asks about.
    subject: &'static str,
}

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

const ROLES: [&str; 7] = ["issuer", "introspector", "session-admin", "self-service", "key-admin", "auditor", "gateway"];

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_gets_exactly_what_is_written_down() {
    let scene = Scene::start().await;
    let methods = methods();
    let written: BTreeSet<_> = METHODS.iter().map(|(method, _)| (*method).to_owned()).collect();
    let real: BTreeSet<_> = methods.iter().map(|(method, _)| method.clone()).collect();
    assert_eq!(real, written, "each method has a row, and each row is one");
    let (mut cells, mut wrong, mut kinds) = (0, Vec::new(), 0);
    for (method, message) in &methods {
        let (_, opens) = METHODS.iter().find(|(name, _)| name == method).expect("a row");
        scene.pass();
        let callers = callers(&scene, cells).await;
        kinds = callers.len();
        for caller in callers {
            let session = scene.login(caller.subject).await.session_id;
            let message = message.as_ref().map(|message| about(message, caller.subject, &session)).unwrap_or_default();
            let expected = expected(opens, &caller.holds);
            let found = outcome(send(caller.channel, method, caller.authorization.as_deref(), &message).await);
            if found != expected {
                wrong.push(format!("{method} by {}: {found:?}, not {expected:?}", caller.name));
            }
            cells += 1;
            scene.pass();
        }
    }
    println!("{} methods x {kinds} callers: {cells} cells", methods.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_endpoint_admits_exactly_whom_is_written_down() {
    let scene = Scene::start().await;
    let is_endpoint = |call: &&str| !call.trim_start_matches('/').contains('.') || call.starts_with("/.");
    let real: BTreeSet<_> = table().iter().map(|row| row.call).filter(is_endpoint).collect();
    let written: BTreeSet<_> = ENDPOINTS.iter().map(|(endpoint, _)| *endpoint).collect();
    assert_eq!(real, written, "each endpoint has a row, and each row is one");
    let mut callers = vec![("nobody", None, Err(Outcome::Unauthenticated))];
    callers.push(("a wrong secret", Some(basic("issuer").replace("Z", "a")), Err(Outcome::Unauthenticated)));
    callers.push(("another realm's", Some(basic("of-other")), Err(Outcome::Unauthenticated)));
    callers.push(("an assertion as bearer", Some(scene.assertion("1", 60)), Err(Outcome::Unauthenticated)));
    callers.extend(ROLES.map(|role| (role, Some(basic(role)), Ok(vec![role, "client"]))));
    let base = format!("http://{}", scene.server.http_address());
    let (mut cells, mut wrong) = (0, Vec::new());
    for (endpoint, opens) in ENDPOINTS {
        for (name, authorization, holds) in &callers {
            let found =
                ask(&format!("{base}{}", endpoint.replace("{realm}", "default")), authorization.as_deref()).await;
            if found != expected(opens, holds) {
                wrong.push(format!("{endpoint} by {name}: {found:?}"));
            }
            cells += 1;
        }
    }
    println!("{} endpoints x {} callers: {cells} cells", ENDPOINTS.len(), callers.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_good_for_one_call() {
    let scene = Scene::start().await;
    let login = v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() };
    let method = "token_authority.v1.TokenService/IssueToken";
    let (once, other) = (scene.assertion("once", 60), scene.assertion("other", 60));
    for (assertion, served) in [(&once, true), (&once, false), (&other, true)] {
        let answer = scene.ask::<v1::IssueTokenResponse>(method, assertion, &login).await;
        assert_eq!(
            answer.map(drop).map_err(|status| status.code()),
            if served { Ok(()) } else { Err(Code::Unauthenticated) }
        );
    }
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audiences_and_scopes_bound_what_a_client_issues_refreshes_and_sees() {
    let scene = Scene::start().await;
    let service = |method: &str| format!("token_authority.v1.TokenService/{method}");
    let login = |audience: &str, scope: &[&str]| v1::IssueTokenRequest {
        subject: "ann".into(),
        audience: if audience.is_empty() { Vec::new() } else { vec![audience.to_owned()] },
        scope: scope.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let (any, narrow) = (basic("issuer"), basic("narrow"));
    let issue = async |by: &str, login| {
        let answer = scene.ask::<v1::IssueTokenResponse>(&service("IssueToken"), by, &login).await;
        answer.map(|answer| answer.tokens.unwrap()).map_err(|status| reason(&status))
    };
    let own = issue(&narrow, login("orders", &[])).await.unwrap();
    assert_eq!(
        issue(&narrow, login("stock", &[])).await.unwrap_err(),
        (Code::PermissionDenied, "AUDIENCE_NOT_ALLOWED".into())
    );
    let default = issue(&narrow, login("", &[])).await.unwrap_err();
    assert_eq!(default.1, "AUDIENCE_NOT_ALLOWED", "the realm's default is another's");
    assert_eq!(issue(&narrow, login("orders", &["write"])).await.unwrap_err().1, "SCOPE_NOT_GRANTED");
    let foreign = issue(&any, login("stock", &[])).await.unwrap();
    for (token, active) in [(&own.access_token, true), (&foreign.access_token, false)] {
        let request = v1::IntrospectTokenRequest { token: token.clone(), ..Default::default() };
        let seen: v1::IntrospectTokenResponse =
            scene.ask(&service("IntrospectToken"), &narrow, &request).await.unwrap();
        assert_eq!(seen.active, active);
        let request = v1::BatchIntrospectTokensRequest { tokens: vec![token.clone()], ..Default::default() };
        let seen: v1::BatchIntrospectTokensResponse =
            scene.ask(&service("BatchIntrospectTokens"), &narrow, &request).await.unwrap();
        assert_eq!(seen.results[0].active, active);
    }
    for (token, by, allowed) in [(&foreign, &narrow, false), (&foreign, &any, true), (&own, &narrow, true)] {
        let request = v1::RefreshTokenRequest { refresh_token: token.refresh_token.clone(), ..Default::default() };
        let answer = scene.ask::<v1::RefreshTokenResponse>(&service("RefreshToken"), by, &request).await;
        assert_eq!(answer.is_ok(), allowed, "{:?}", answer.err());
    }
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_clients_stays_another_clients() {
    let scene = Scene::start().await;
    let service = |method: &str| format!("token_authority.v1.{method}");
    let (any, narrow) = (basic("issuer"), basic("narrow"));
    let login = v1::IssueTokenRequest {
        subject: "ann".to_owned(),
        client_id: "keyed".to_owned(),
        audience: vec!["stock".to_owned()],
        ..Default::default()
    };
    let issued: v1::IssueTokenResponse = scene.ask(&service("TokenService/IssueToken"), &any, &login).await.unwrap();
    let tokens = issued.tokens.unwrap();

    let request = v1::RefreshTokenRequest { refresh_token: tokens.refresh_token.clone(), ..Default::default() };
    let stolen = scene.ask::<v1::RefreshTokenResponse>(&service("TokenService/RefreshToken"), &any, &request).await;
    assert_eq!(reason(&stolen.unwrap_err()).1, "CLIENT_MISMATCH");
    let own = scene.assertion("own", 60);
    scene.ask::<v1::RefreshTokenResponse>(&service("TokenService/RefreshToken"), &own, &request).await.unwrap();

    let request = v1::UpdateSessionClaimsRequest {
        session_id: tokens.session_id.clone(),
        claims: Some(prost_types::Struct::default()),
        ..Default::default()
    };
    let method = service("SessionService/UpdateSessionClaims");
    let foreign = scene.ask::<v1::UpdateSessionClaimsResponse>(&method, &narrow, &request).await;
    assert_eq!(reason(&foreign.unwrap_err()), (Code::PermissionDenied, "AUDIENCE_NOT_ALLOWED".into()));
    scene.ask::<v1::UpdateSessionClaimsResponse>(&method, &any, &request).await.unwrap();
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_in_a_device_holds_for_all_audiences_and_so_takes_an_issuer_of_all() {
    let scene = Scene::start().await;
    let login = v1::IssueTokenRequest {
        subject: "ann".into(),
        audience: vec!["orders".to_owned()],
        device: Some(v1::Device { device_id: "phone".into(), ..Default::default() }),
        ..Default::default()
    };
    let narrow = basic("narrow");
    let method = "token_authority.v1.TokenService/IssueToken";
    scene.ask::<v1::IssueTokenResponse>(method, &narrow, &login).await.unwrap();
    let request = v1::TrustDeviceRequest { subject: "ann".into(), device_id: "phone".into(), ..Default::default() };
    let trust = async |by: &str| {
        let method = "token_authority.v1.SessionService/TrustDevice";
        let answer = scene.ask::<v1::TrustDeviceResponse>(method, by, &request).await;
        answer.map(|answer| answer.device.unwrap().trusted).map_err(|status| reason(&status))
    };
    let refused = (Code::PermissionDenied, "CLIENT_NOT_PERMITTED".to_owned());
    assert_eq!(trust(&narrow).await, Err(refused), "even on its own session's device");
    for whole in ["issuer", "session-admin"] {
        assert_eq!(trust(&basic(whole)).await, Ok(true), "{whole}");
    }
    scene.server.stop().await;
}

/// Each method that is served, and its request where it is one of ours.
fn methods() -> Vec<(String, Option<MessageDescriptor>)> {
    let sets = [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut methods = vec![("envoy.service.auth.v3.Authorization/Check".to_owned(), None)];
    for pool in sets.map(|set| DescriptorPool::decode(set).unwrap()) {
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let ours = method.parent_service().package_name() == "token_authority.v1";
            let name = format!("{}/{}", method.parent_service().full_name(), method.name());
            methods.push((name, ours.then(|| method.input())));
        }
    }
    methods
}

/// A request about a subject and its session, as far as it names them.
fn about(message: &MessageDescriptor, subject: &str, session: &str) -> Vec<u8> {
    let mut request = DynamicMessage::new(message.clone());
    for (name, value) in [("subject", subject), ("session_id", session)] {
        if message.get_field_by_name(name).is_some() {
            request.set_field_by_name(name, Value::String(value.to_owned()));
        }
    }
    request.encode_to_vec()
}

async fn callers(scene: &Scene, turn: usize) -> Vec<Caller> {
    let plain = scene.channel(None);
    let certified = |pair| scene.channel(Some(&pair));
    let unknown = |outcome| Err(outcome);
    let mut callers = Vec::new();
    let mut add = |name: &str, channel: &Channel, authorization: Option<String>, holds, subject| {
        callers.push(Caller { name: name.to_owned(), channel: channel.clone(), authorization, holds, subject });
    };
    let refused = unknown(Outcome::Unauthenticated);
    let denied = unknown(Outcome::Denied);
    add("nobody", &plain, None, refused.clone(), "ann");
    add("a wrong secret", &plain, Some(basic("issuer").replace('Z', "a")), refused.clone(), "ann");
    add("an unknown client", &plain, Some(basic("nobody")), refused.clone(), "ann");
    add("no scheme", &plain, Some(SECRET.to_owned()), refused.clone(), "ann");
    add("another realm's client", &plain, Some(basic("of-other")), refused.clone(), "ann");
    add("an expired assertion", &plain, Some(scene.assertion(&format!("old-{turn}"), 0)), refused.clone(), "ann");
    add(
        "an assertion for ever",
        &plain,
        Some(scene.assertion(&format!("far-{turn}"), Scene::forever())),
        refused.clone(),
        "ann",
    );
    let other_audience = scene.account("web", "https://kubernetes.default.svc", 600);
    add("an account's token for another audience", &plain, Some(other_audience), refused.clone(), "ann");
    add("an account's expired token", &plain, Some(scene.account("web", "token-authority", 0)), refused.clone(), "ann");
    add("an account without a row", &plain, Some(scene.account("db", "token-authority", 600)), denied.clone(), "ann");
    add("a certificate without a row", &certified(scene.authority.server_as_client()), None, denied.clone(), "ann");
    let unconnected = unknown(Outcome::Unconnected);
    add("an expired certificate", &certified(scene.authority.expired_client()), None, unconnected.clone(), "ann");
    add("another authority's certificate", &certified(Authority::new().client()), None, unconnected, "ann");
    let bearer = |tokens: v1::TokenPair| Some(format!("Bearer {}", tokens.access_token));
    // Before those who may end everything; of subjects whose sessions nobody else ends.
    add("a bearer", &plain, bearer(scene.login("bearer").await), Ok(vec!["own"]), "bearer");
    add("a bearer for others", &plain, bearer(scene.login("carol").await), Ok(Vec::new()), "ann");
    let mut forged = scene.login("carol").await;
    forged.access_token.replace_range(forged.access_token.len() - 8.., "AAAAAAAA");
    add("a forged bearer", &plain, bearer(forged), refused.clone(), "bearer");
    add(
        "a refresh token",
        &plain,
        Some(format!("Bearer {}", scene.login("carol").await.refresh_token)),
        refused.clone(),
        "carol",
    );
    let subject_token = scene.login("carol").await.access_token;
    let exchange = format!("grant_type={EXCHANGE}&subject_token={subject_token}&subject_token_type={ACCESS_TOKEN}");
    add("a service with a subject's token", &plain, Some(granted(scene, &exchange).await), refused.clone(), "carol");
    let own = granted(scene, "grant_type=client_credentials").await;
    add("a service with a token of its own", &plain, Some(own), refused, "service");
    for role in ROLES {
        let own = role == "self-service";
        let holds = if own { vec!["own"] } else { vec![role] };
        add(role, &plain, Some(basic(role)), Ok(holds), if own { "self-service" } else { "ann" });
    }
    add("self-service for others", &plain, Some(basic("self-service")), Ok(Vec::new()), "ann");
    add("an issuer by certificate", &certified(scene.authority.client()), None, Ok(vec!["issuer"]), "ann");
    add(
        "an issuer by assertion",
        &plain,
        Some(scene.assertion(&format!("new-{turn}"), 300)),
        Ok(vec!["issuer"]),
        "ann",
    );
    let account = scene.account("web", "token-authority", 600);
    add("an issuer by service account", &plain, Some(account), Ok(vec!["issuer"]), "ann");
    callers
}

fn expected(opens: &[&str], holds: &Result<Vec<&'static str>, Outcome>) -> Outcome {
    match holds {
        Err(Outcome::Unconnected) => Outcome::Unconnected,
        _ if opens.contains(&"anybody") => Outcome::Admitted,
        Err(outcome) => *outcome,
        Ok(held) if held.iter().any(|role| opens.contains(role)) => Outcome::Admitted,
        Ok(_) => Outcome::Denied,
    }
}

fn outcome(answer: Result<http::Response<tonic::body::Body>, String>) -> Outcome {
    let Ok(answer) = answer else { return Outcome::Unconnected };
    let Some(status) = Status::from_header_map(answer.headers()) else { return Outcome::Admitted };
    match reason(&status) {
        (Code::Unauthenticated, reason) if reason == "CLIENT_NOT_AUTHENTICATED" => Outcome::Unauthenticated,
        (Code::PermissionDenied, reason) if reason == "CLIENT_NOT_PERMITTED" => Outcome::Denied,
        _ => Outcome::Admitted,
    }
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

/// A form to an endpoint. Those that take none answer 405, which is an answer.
async fn ask(url: &str, authorization: Option<&str>) -> Outcome {
    let (status, text) = post(url, authorization, "token=x&grant_type=client_credentials").await;
    match status {
        StatusCode::UNAUTHORIZED if text.contains("invalid_client") => Outcome::Unauthenticated,
        // A grant that the client does not have is refused by the same word, beyond the gate.
        StatusCode::BAD_REQUEST if text.contains("unauthorized_client") && !url.ends_with("/token") => Outcome::Denied,
        _ => Outcome::Admitted,
    }
}

/// What the bearer of a token shows that the client `service` is granted.
async fn granted(scene: &Scene, form: &str) -> String {
    let url = format!("http://{}/oauth2/token", scene.server.http_address());
    let (status, text) = post(&url, Some(&basic("service")), form).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    format!("Bearer {}", answer["access_token"].as_str().unwrap())
}

async fn post(url: &str, authorization: Option<&str>, form: &str) -> (StatusCode, String) {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = http::Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let answer = client.request(request.body(Full::new(Bytes::from(form.to_owned()))).unwrap()).await.unwrap();
    let status = answer.status();
    (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}
