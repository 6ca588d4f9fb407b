//! A realm that tells callers three messages and no reasons.

use std::time::Duration;

use serde_json::json;
use token_authority::domain::ids::Message;
use token_authority::domain::messages::Messages;
use token_authority::proto::v1;
use tonic::{Code, Status};

use crate::realm::{Realm, register};
use crate::test_server::{TestServer, refusal};
use crate::wire::{Answer, send};

pub(crate) const ACCESS_INVALID: &str = "Invalid or expired token";
pub(crate) const REVOKED: &str = "Token has been revoked";
const REFRESH_INVALID: &str = "Invalid or expired refresh token";

pub(crate) fn messages() -> Messages {
    let told = |text| Some(Message::parse(text).expect("a message"));
    Messages { access_invalid: told(ACCESS_INVALID), revoked: told(REVOKED), refresh_invalid: told(REFRESH_INVALID) }
}

async fn start() -> Realm {
    let server = TestServer::start_configured(|config| {
        register(config);
        let realm = config.realms.first_mut().expect("the default realm");
        realm.messages = messages();
        realm.idle_timeout = Some(Duration::from_secs(3600));
    });
    Realm { server: server.await }
}

fn folded(status: &Status) {
    assert_eq!(refusal(status), (Code::InvalidArgument, "REFRESH_TOKEN_INVALID".to_owned()));
    assert_eq!(status.message(), REFRESH_INVALID);
}

fn is_folded(answer: &Answer) {
    let body = json!({ "error": "invalid_grant", "error_description": REFRESH_INVALID });
    assert_eq!((answer.status, answer.json()), (400, body));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_refresh_token_is_told_in_one_message() {
    let realm = start().await;
    let ended = realm.login("ann").await;
    realm.server.revoke(&ended.refresh_token).await;
    let idle = realm.login("bob").await;
    realm.server.pass(Duration::from_secs(3601));
    let used = realm.login("eve").await;
    let next = realm.server.refresh(&used.refresh_token).await.expect("refreshes");
    realm.server.refresh(&next.refresh_token).await.expect("refreshes");
    let other = realm.login_for("joe", "gateway", &["orders"]).await;
    let origin = realm.issuer();
    for (what, token, client) in [
        ("garbage", "tar_x", ""),
        ("ended", &ended.refresh_token, ""),
        ("idle", &idle.refresh_token, ""),
        ("replayed", &used.refresh_token, ""),
        ("another client's", &other.refresh_token, "app"),
    ] {
        let request = v1::RefreshTokenRequest {
            refresh_token: token.into(),
            client_id: client.into(),
            ..v1::RefreshTokenRequest::default()
        };
        folded(&realm.server.tokens.clone().refresh_token(request).await.expect_err(what));
        is_folded(&realm.post("app", "token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await);
        let cookie = format!("__Secure-refresh_token={token}");
        let headers = [("Cookie", cookie.as_str()), ("Origin", &origin)];
        is_folded(&send(realm.server.http(), "POST", "/session/refresh", &headers, "").await);
    }
    is_folded(&send(realm.server.http(), "POST", "/session/refresh", &[("Origin", &origin)], "").await);
    realm.server.pass(Duration::from_secs(8 * 86_400));
    folded(&realm.server.refresh(&other.refresh_token).await.expect_err("expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_only_overtaken_may_still_be_told_from_a_bad_one() {
    let realm = Realm {
        server: TestServer::start_with(|policy| {
            policy.messages = messages();
            policy.reuse_leeway = Duration::ZERO;
        })
        .await,
    };
    let login = realm.server.login("ann", "phone").await;
    realm.server.refresh(&login.refresh_token).await.expect("refreshes");
    let raced = realm.server.refresh(&login.refresh_token).await.expect_err("overtaken");
    assert_eq!(refusal(&raced).1, "REFRESH_TOKEN_SUPERSEDED");
}
