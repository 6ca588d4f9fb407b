//! Real gateways with the configurations that `deploy/` recommends, in front of a service that says what
//! reached it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use token_authority::proto::v1;

use crate::gateway::{Gateway, echo, envoy, nginx};
use crate::test_server::TestServer;
use crate::wire::{Answer, send};

/// A service behind a gateway, and a token that has expired.
struct Guarded {
    gateway: Gateway,
    expired: v1::TokenPair,
}

impl Guarded {
    async fn start(config: &str, command: impl FnOnce(&Path, &Path) -> Command) -> Self {
        // Gateways go by the machine's clock: what is to have expired was issued back then.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
        let authority = TestServer::start_at(now - Duration::from_secs(2_000)).await;
        let expired = login(&authority, "late", "orders").await;
        authority.pass(Duration::from_secs(2_000));
        let gateway = Gateway::start(authority, Router::new().fallback(echo), config, command).await;
        Self { gateway, expired }
    }

    async fn get(&self, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", "/things", headers).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        send(self.gateway.address, method, path, headers, "").await
    }

    async fn bearer(&self, tokens: &v1::TokenPair) -> u16 {
        self.get(&[("Authorization", &format!("Bearer {}", tokens.access_token))]).await.status
    }

    async fn login(&self, subject: &str, audience: &str) -> v1::TokenPair {
        login(&self.gateway.authority, subject, audience).await
    }

    async fn revoke(&self, tokens: &v1::TokenPair) {
        self.gateway.authority.revoke(&tokens.refresh_token).await;
    }
}

async fn login(authority: &TestServer, subject: &str, audience: &str) -> v1::TokenPair {
    let request = v1::IssueTokenRequest {
        subject: subject.to_owned(),
        audience: vec![audience.to_owned()],
        scope: vec!["read".to_owned()],
        ..v1::IssueTokenRequest::default()
    };
    authority.issue(request).await.expect("issues")
}

/// What each gateway that asks about every request has to hold.
async fn asks_about_each_request(guarded: &Guarded) {
    let tokens = guarded.login("ann", "orders").await;
    let bearer = format!("Bearer {}", tokens.access_token);
    let spoofed = [("Authorization", bearer.as_str()), ("X-Auth-Subject", "root"), ("X-Auth-Session-Id", "stolen")];
    let answer = guarded.get(&spoofed).await;
    assert_eq!(answer.status, 200);
    let reached = answer.json();
    assert_eq!((&reached["x-auth-subject"], &reached["x-auth-client-id"]), (&"ann".into(), &"cli".into()));
    assert_eq!(reached["x-auth-session-id"], tokens.session_id);
    assert_eq!(reached.get("authorization"), None, "the service gets no token");
    let underscored = guarded.get(&[("Authorization", &bearer), ("X_Auth_Subject", "root")]).await;
    let reached = |answer: &Answer| answer.status == 200 && answer.json().get("x_auth_subject").is_some();
    assert!(!reached(&underscored), "to many a service this is X-Auth-Subject: {underscored:?}");

    let cookie = format!("__Host-access_token={}", tokens.access_token);
    assert_eq!(guarded.get(&[("Cookie", &cookie)]).await.status, 200);
    let post = async |more: (&str, &str)| guarded.send("POST", "/things", &[("Cookie", &cookie), more]).await.status;
    let own = format!("http://{}", guarded.gateway.address);
    assert_eq!(post(("Origin", &own)).await, 200);
    assert_eq!(post(("Origin", "https://evil.example")).await, 403);

    let missing = guarded.get(&[("X-Auth-Subject", "root")]).await;
    assert_eq!((missing.status, missing.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(guarded.bearer(&guarded.login("ann", "mail").await).await, 403, "for another audience");
    assert_eq!(guarded.bearer(&guarded.expired).await, 401, "expired");
    assert_eq!(guarded.bearer(&tokens).await, 200);
    guarded.revoke(&tokens).await;
    assert_eq!(guarded.bearer(&tokens).await, 401, "revoked, at once");

    let public = guarded.send("GET", "/public/x", &[("X-Auth-Subject", "root")]).await;
    assert_eq!((public.status, public.json().get("x-auth-subject")), (200, None), "nobody names himself");
    let underscored = guarded.send("GET", "/public/x", &[("X_Auth_Subject", "root")]).await;
    assert!(!reached(&underscored), "nor by another spelling: {underscored:?}");
    for path in ["/public-admin", "/public/../orders", "/public/%2e%2e/orders"] {
        assert_eq!(guarded.send("GET", path, &[]).await.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_asks_about_each_request() {
    let guarded = Guarded::start("deploy/envoy/ext_authz.yaml", envoy).await;
    asks_about_each_request(&guarded).await;
    for (path, status) in [
        ("/public", 200),
        ("/public//../../orders", 401),
        // To ask again for what it means.
        ("/public%2f..%2forders", 307),
        ("/public/..%5corders", 307),
    ] {
        assert_eq!(guarded.send("GET", path, &[]).await.status, status, "{path}");
    }
    assert_eq!(guarded.send("GET", "/public/x", &[("X_Auth_Subject", "root")]).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_asks_about_each_request() {
    let guarded = Guarded::start("deploy/nginx/nginx.conf", nginx).await;
    asks_about_each_request(&guarded).await;
    let own = format!("http://{}", guarded.gateway.address);
    let log_out = async |headers: &[(&str, &str)]| guarded.send("POST", "/session/logout", headers).await.status;
    assert_eq!(log_out(&[("Origin", &own)]).await, 204);
    assert_eq!(log_out(&[("Origin", "https://evil.example"), ("X-Forwarded-Host", "evil.example")]).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_checks_tokens_by_the_key_set() {
    let guarded = Guarded::start("deploy/envoy/jwt_authn.yaml", envoy).await;
    let tokens = guarded.login("ann", "orders").await;
    let bearer = format!("Bearer {}", tokens.access_token);
    assert_eq!(guarded.bearer(&tokens).await, 200);
    assert_eq!(guarded.get(&[("Cookie", &format!("__Host-access_token={}", tokens.access_token))]).await.status, 200);
    assert_eq!(guarded.get(&[]).await.status, 401);
    assert_eq!(guarded.get(&[("Authorization", &bearer), ("X_Any", "1")]).await.status, 400);
    assert_eq!(guarded.bearer(&guarded.expired).await, 401, "expired");
    assert_eq!(guarded.bearer(&guarded.login("ann", "mail").await).await, 403, "for another audience");
    let unsigned = v1::TokenPair {
        access_token: format!("{}AAAA", &tokens.access_token[..tokens.access_token.len() - 4]),
        ..tokens.clone()
    };
    assert_eq!(guarded.bearer(&unsigned).await, 401, "changed");
    guarded.revoke(&tokens).await;
    assert_eq!(guarded.bearer(&tokens).await, 200, "revoked: the key set does not say so");
}
