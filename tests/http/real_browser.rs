//! A browser's session in a real browser, behind NGINX as `deploy/` recommends: Chromium decides which
//! cookie goes where, and what a page may ask of another site.

use std::future::ready;

use axum::Router;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, Html};
use axum::routing::{get, post};
use token_authority::proto::v1;

use crate::client_libraries::run;
use crate::gateway::{Gateway, echo, nginx};
use crate::test_server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn chromium_keeps_a_session_that_only_its_site_can_use() {
    let authority = TestServer::start().await;
    let request = v1::IssueTokenRequest {
        subject: "ann".to_owned(),
        audience: vec!["orders".to_owned()],
        scope: vec!["read".to_owned()],
        ..v1::IssueTokenRequest::default()
    };
    let login = authority.issue(request).await.expect("issues");
    let gateway = Gateway::start(authority, application(&login), "deploy/nginx/nginx.conf", nginx).await;
    let [origin, other_port] = [gateway.address, gateway.service].map(|address| format!("http://{address}"));
    let printed = run(".venv/bin/node", &["tests/clients/node/browser.mjs", &origin, &other_port]).await;
    let steps = [
        "logged in",
        "hidden from scripts",
        "refreshed",
        "refused to another site",
        "refused to another port",
        "lives on",
        "logged out",
    ];
    for step in steps {
        assert!(printed.contains(step), "no step {step:?} in:\n{printed}");
    }
    assert!(!gateway.authority.introspect(&login.access_token).await.active);
}

/// A page for everybody, a login that sets the first cookies, and what only who is logged in may see.
fn application(login: &v1::TokenPair) -> Router {
    let cookies = AppendHeaders(
        [
            format!("__Host-access_token={}; Path=/; Secure; HttpOnly; SameSite=Lax", login.access_token),
            format!("__Secure-refresh_token={}; Path=/session; Secure; HttpOnly; SameSite=Strict", login.refresh_token),
            "theme=dark; Path=/".to_owned(),
        ]
        .map(|cookie| (SET_COOKIE, cookie)),
    );
    Router::new()
        .route("/public/page", get(|| ready(Html("<!doctype html><title>Page</title>"))))
        .route("/public/login", post(|| ready(cookies)))
        .fallback(echo)
}
