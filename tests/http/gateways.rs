//! Gateways ask whether a request may pass: Envoy over gRPC, NGINX and Traefik over HTTP. One table, and
//! both edges answer it alike.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::ext_authz::v3::pb::{CheckRequest, CheckResponse, HttpResponse};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use serde_json::{Map, Value, json};
use token_authority::proto::v1;
use tonic::{Code, Status};

use crate::messages::{ACCESS_INVALID, REVOKED, messages};
use crate::test_server::TestServer;
use crate::wire::{Answer, send};

const COOKIE: &str = "__Host-access_token";

/// Headers, or settings of a route.
type Pairs<'a> = &'a [(&'a str, &'a str)];

struct Gateways {
    server: TestServer,
    envoy: AuthorizationClient<tonic::transport::Channel>,
}

impl Gateways {
    async fn start() -> Self {
        Self::before(TestServer::start().await).await
    }

    async fn before(server: TestServer) -> Self {
        let channel = tonic::transport::Channel::from_shared(format!("http://{}", server.grpc())).expect("an address");
        Self { server, envoy: AuthorizationClient::new(channel.connect().await.expect("connects")) }
    }

    async fn token(&self, subject: &str, claims: Value) -> v1::TokenPair {
        let Value::Object(claims) = claims else { panic!("an object") };
        let claims: Map<_, _> = claims;
        let text = |value: &Value| prost_types::Value {
            kind: value.as_str().map(|text| prost_types::value::Kind::StringValue(text.to_owned())),
        };
        let fields = claims.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let request = v1::IssueTokenRequest {
            subject: subject.to_owned(),
            audience: vec!["default".to_owned(), "orders".to_owned()],
            scope: vec!["read".to_owned(), "write".to_owned()],
            claims: Some(prost_types::Struct { fields }),
            ..v1::IssueTokenRequest::default()
        };
        self.server.issue(request).await.expect("issues")
    }

    async fn ask_envoy(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        settings: &[(&str, &str)],
    ) -> Result<CheckResponse, Status> {
        let owned = |pairs: &[(&str, &str)]| -> HashMap<_, _> {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let http = HttpRequest {
            method: method.to_owned(),
            host: "shop.example".to_owned(),
            headers: owned(headers),
            ..HttpRequest::default()
        };
        let attributes = AttributeContext {
            request: Some(Request { http: Some(http), ..Request::default() }),
            context_extensions: owned(settings),
            ..AttributeContext::default()
        };
        let answer = self.envoy.clone().check(CheckRequest { attributes: Some(attributes) }).await?;
        Ok(answer.into_inner())
    }

    async fn ask_http(&self, method: &str, headers: &[(&str, &str)], settings: &[(&str, &str)]) -> Answer {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let path = format!("/auth/check?{}", query.extend_pairs(settings).finish());
        let forwarded = [("X-Forwarded-Method", method), ("X-Forwarded-Host", "shop.example")];
        send(self.server.http(), "GET", &path, &[&forwarded, headers].concat(), "").await
    }

    /// Asks both; the status and challenge that the client would get.
    async fn ask(&self, method: &str, headers: &[(&str, &str)], settings: &[(&str, &str)]) -> (u16, Option<String>) {
        let by_http = self.ask_http(method, headers, settings).await;
        let http_body = by_http.body.clone();
        let by_http = (by_http.status, by_http.header("www-authenticate").map(str::to_owned));
        let by_envoy = self.ask_envoy(method, headers, settings).await.expect("a verdict");
        let ok = by_envoy.status.expect("a status").code == 0;
        let by_envoy = match by_envoy.http_response.expect("a response") {
            HttpResponse::OkResponse(_) => (200, None),
            HttpResponse::DeniedResponse(denied) => {
                let challenge = denied.headers[0].header.clone().expect("a header");
                assert_eq!(challenge.key, "www-authenticate");
                assert_eq!(denied.body, http_body, "{method} {headers:?} {settings:?}");
                (u16::try_from(denied.status.expect("a status").code).expect("one"), Some(challenge.value))
            }
            HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
        };
        assert_eq!(ok, by_envoy.0 == 200);
        assert_eq!(by_http, by_envoy, "{method} {headers:?} {settings:?}");
        by_http
    }
}

/// And not even of its own token unless it is one: a stranger learns nothing of what was revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_realm_has_its_own_words_for_a_token_that_is_not_good() {
    let server = TestServer::start_with(|policy| policy.messages = messages()).await;
    let gateways = Gateways::before(server).await;
    let (expired, revoked) = (gateways.token("ann", json!({})).await, gateways.token("bob", json!({})).await);
    gateways.server.pass(Duration::from_secs(600));
    let lately = gateways.token("eve", json!({})).await;
    for tokens in [&revoked, &lately] {
        gateways.server.revoke(&tokens.refresh_token).await;
    }
    gateways.server.pass(Duration::from_secs(600));
    let mut forged = lately.access_token.clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    for (token, told) in [
        ("x", ACCESS_INVALID),
        (&expired.access_token, ACCESS_INVALID),
        (&revoked.access_token, ACCESS_INVALID),
        (&forged, ACCESS_INVALID),
        (&lately.access_token, REVOKED),
    ] {
        let bearer = format!("Bearer {token}");
        let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{told}\"");
        assert_eq!(gateways.ask("GET", &[("authorization", &bearer)], &[]).await, (401, Some(challenge)), "{token}");
        let body = gateways.ask_http("GET", &[("authorization", &bearer)], &[]).await.json();
        assert_eq!(body, json!({ "error": "invalid_token", "error_description": told }));
    }
    assert_eq!(gateways.ask("GET", &[], &[]).await, (401, Some("Bearer".to_owned())));
    assert_eq!(gateways.ask_http("GET", &[], &[]).await.json()["error_description"], ACCESS_INVALID);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_edges_give_one_verdict() {
    let gateways = Gateways::start().await;
    let token = gateways.token("ann", json!({ "role": "admin", "tier": "gold" })).await.access_token;
    let revoked = gateways.token("bob", json!({})).await;
    gateways.server.revoke(&revoked.refresh_token).await;
    let bearer = format!("Bearer {token}");
    let (cookie, dead) = (format!("a=b; {COOKIE}={token}"), format!("bearer {}", revoked.access_token));
    let header = [("authorization", bearer.as_str())];
    let with_cookie = [("cookie", cookie.as_str())];
    let (none, invalid, insufficient) =
        ("Bearer", "Bearer error=\"invalid_token\"", "Bearer error=\"insufficient_scope\"");
    let cases: &[(Pairs<'_>, Pairs<'_>, u16, &str)] = &[
        (&[], &[], 401, none),
        (&[("authorization", "Basic YTpi")], &[], 401, none),
        (&header, &[], 200, ""),
        (&[("authorization", &dead)], &[], 401, invalid),
        (&[("authorization", "Bearer x")], &[], 401, invalid),
        // A bad token is not made good by a cookie beside it.
        (&[("authorization", "Bearer x"), with_cookie[0]], &[], 401, invalid),
        (&with_cookie, &[], 200, ""),
        (&[("cookie", &format!("other=Jörg; {COOKIE}={token}"))], &[], 200, ""),
        (&[("cookie", &format!("other={token}"))], &[], 401, none),
        (
            &header,
            &[("audience", "orders"), ("scope", "read write"), ("role", "admin"), ("claim.tier", "gold")],
            200,
            "",
        ),
        (&header, &[("audience", "mail")], 403, insufficient),
        (&header, &[("scope", "read admin")], 403, insufficient),
        (&header, &[("role", "owner")], 403, insufficient),
        (&header, &[("claim.tier", "silver")], 403, insufficient),
        (&header, &[("claim.unknown", "gold")], 403, insufficient),
    ];
    for (headers, settings, status, challenge) in cases {
        let expected = (*status, (*status != 200).then(|| (*challenge).to_owned()));
        assert_eq!(gateways.ask("GET", headers, settings).await, expected, "{headers:?} {settings:?}");
    }
    gateways.server.pass(Duration::from_secs(901));
    assert_eq!(gateways.ask("GET", &header, &[]).await, (401, Some(invalid.to_owned())), "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_does_not_serve_another_site() {
    let gateways = Gateways::start().await;
    let token = gateways.token("ann", json!({})).await.access_token;
    let (cookie, bearer) = (format!("{COOKIE}={token}"), format!("Bearer {token}"));
    let cookie = ("cookie", cookie.as_str());
    for (method, more, status) in [
        ("POST", ("origin", "https://shop.example"), 200),
        ("POST", ("sec-fetch-site", "same-origin"), 200),
        ("POST", ("origin", "https://evil.example"), 403),
        ("DELETE", ("sec-fetch-site", "same-site"), 403),
        ("POST", ("accept", "*/*"), 403),
        ("GET", ("sec-fetch-site", "cross-site"), 200),
    ] {
        assert_eq!(gateways.ask(method, &[cookie, more], &[]).await.0, status, "{method} {more:?}");
    }
    for upgrade in [("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")] {
        for (origin, status) in [("https://shop.example", 200), ("https://evil.example", 403)] {
            let headers = [cookie, upgrade, ("origin", origin)];
            assert_eq!(gateways.ask("GET", &headers, &[]).await.0, status, "{upgrade:?} {origin}");
        }
    }
    let header = [("authorization", bearer.as_str()), ("origin", "https://evil.example")];
    assert_eq!(gateways.ask("POST", &header, &[]).await.0, 200, "a header is no cookie: scripts set it knowingly");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_passed_is_said_and_nobody_names_himself() {
    let gateways = Gateways::start().await;
    let tokens = gateways.token("änn, admin", json!({ "tier": "gold" })).await;
    let bearer = format!("Bearer {}", tokens.access_token);
    let spoofed = [("authorization", bearer.as_str()), ("x-auth-subject", "root")];
    let expected = [
        ("x-auth-subject", "%C3%A4nn%2C%20admin"),
        ("x-auth-client-id", "cli"),
        ("x-auth-session-id", tokens.session_id.as_str()),
        ("x-auth-scope", "read write"),
        ("x-auth-audience", "default orders"),
    ];
    let answer = gateways.ask_http("GET", &spoofed, &[]).await;
    for (name, value) in expected {
        assert_eq!(answer.header(name), Some(value));
    }
    let answer = gateways.ask_envoy("GET", &spoofed, &[("authorization", "remove")]).await.expect("a verdict");
    let metadata = answer.dynamic_metadata.expect("metadata").fields;
    assert!(metadata.contains_key("subject") && metadata.contains_key("claims"), "{metadata:?}");
    let Some(HttpResponse::OkResponse(ok)) = answer.http_response else { panic!("not allowed") };
    let set: Vec<_> = ok.headers.iter().map(|option| option.header.clone().expect("a header")).collect();
    assert_eq!(set.iter().map(|header| (header.key.as_str(), header.value.as_str())).collect::<Vec<_>>(), expected);
    assert!(ok.headers.iter().all(|option| option.append_action == 2), "overwrites: {:?}", ok.headers);
    assert_eq!(ok.headers_to_remove, ["authorization"]);

    // A token without a session: the header of that name goes.
    let login = v1::IssueTokenRequest { subject: "job".into(), without_session: true, ..Default::default() };
    let token = gateways.server.issue(login).await.expect("issues").access_token;
    let answer =
        gateways.ask_envoy("GET", &[("authorization", &format!("Bearer {token}"))], &[]).await.expect("a verdict");
    let Some(HttpResponse::OkResponse(ok)) = answer.http_response else { panic!("not allowed") };
    assert_eq!(ok.headers_to_remove, ["x-auth-session-id", "x-auth-scope"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_misconfigured_lets_nobody_pass() {
    let gateways = Gateways::start().await;
    let bearer = format!("Bearer {}", gateways.token("ann", json!({})).await.access_token);
    let header = [("authorization", bearer.as_str())];
    let refused = gateways.ask_envoy("GET", &header, &[("audiance", "orders")]).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(gateways.ask_http("GET", &header, &[("audiance", "orders")]).await.refusal().0, 400);
    let refused = gateways.ask_envoy("GET", &header, &[("authorization", "removed")]).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    for twice in [[("role", "owner"), ("role", "")], [("audience", "mail"), ("audience", "orders")]] {
        assert_eq!(gateways.ask_http("GET", &header, &twice).await.refusal().0, 400, "{twice:?}");
    }
    for realm in ["nowhere", "default", ""] {
        let refused = gateways.ask_http("GET", &header, &[("realm", realm)]).await.refusal();
        assert_eq!(refused.0, 400, "the path names the realm, and not {realm:?}");
    }
    let refused = gateways.ask_envoy("GET", &header, &[("realm", "nowhere")]).await.expect_err("refused");
    assert_eq!(refused.code(), Code::NotFound);
    let twice = [header[0], ("Authorization", "Bearer x")];
    assert_eq!(gateways.ask_http("GET", &twice, &[]).await.refusal().0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_bound_to_a_key_is_no_bearer_token() {
    use v1::confirmation::Thumbprint;
    let gateways = Gateways::start().await;
    let thumbprint = Thumbprint::JwkThumbprint("A".repeat(43));
    let confirmation = Some(v1::Confirmation { thumbprint: Some(thumbprint) });
    let login = v1::IssueTokenRequest { subject: "ann".into(), confirmation, ..Default::default() };
    let bearer = format!("Bearer {}", gateways.server.issue(login).await.expect("issues").access_token);
    assert_eq!(gateways.ask("GET", &[("authorization", &bearer)], &[]).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_lets_pass_keeps_its_session() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let server = TestServer::start_with(|policy| policy.idle_timeout = Some(minutes(30)));
    let gateways = Gateways::before(server.await).await;
    let idle_expiry = async |subject: &str| {
        let [session] = &gateways.server.sessions_of(subject).await[..] else { panic!("one session") };
        session.idle_expire_time.expect("an idle limit").seconds
    };
    let (ann, bob) = (gateways.token("ann", json!({})).await, gateways.token("bob", json!({})).await);
    let before = idle_expiry("ann").await;
    gateways.server.pass(minutes(10));
    let bearer = |pair: &v1::TokenPair| format!("Bearer {}", pair.access_token);
    let denied = gateways.ask("GET", &[("authorization", &bearer(&bob))], &[("scope", "admin")]).await;
    assert_eq!(denied.0, 403);
    assert_eq!(gateways.ask_http("GET", &[("authorization", &bearer(&bob))], &[]).await.status, 200);
    gateways.ask_envoy("GET", &[("authorization", &bearer(&ann))], &[]).await.expect("a verdict");
    for subject in ["ann", "bob"] {
        let slid = async {
            while idle_expiry(subject).await != before + 600 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), slid).await.expect("the touch is written");
    }
}
