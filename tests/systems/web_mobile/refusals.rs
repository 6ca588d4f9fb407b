//! Each way in which a token is not good, and what is told of it.

use std::time::Duration;

use token_authority::client::{NotAuthenticated, Rejection};
use token_authority::proto::v1;
use token_authority::verify;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::{AUDIENCE, INVALID, PATIENCE, WEEK};
use crate::gateway;
use crate::protected::Protected;
use crate::test_server::{TestServer, refusal};

pub(super) async fn a10_expired_malformed_missing_revoked_and_tampered_have_a_reason_each(server: &TestServer) {
    let protected = Protected::start(server, AUDIENCE).await;
    let expired = server.login("ann", "phone").await;
    server.pass(WEEK);
    let (good, revoked) = (server.login("ann", "phone").await, server.login("ann", "laptop").await);
    server.revoke(&revoked.refresh_token).await;
    let tampered = |token: &str| format!("{}{}", &token[..token.len() - 10], "A".repeat(10));
    let token = |why| Rejection::NotAuthenticated(NotAuthenticated::Token(why));

    let not_jwt = match protected.rejection("no.jwt").await {
        Some(Rejection::NotAuthenticated(NotAuthenticated::Token(why @ verify::Rejection::Malformed(_)))) => why,
        other => panic!("{other:?}"),
    };
    let access = [
        (expired.access_token.clone(), token(verify::Rejection::Expired)),
        ("no.jwt".to_owned(), token(not_jwt)),
        (revoked.access_token.clone(), token(verify::Rejection::Revoked)),
        (tampered(&good.access_token), token(verify::Rejection::BadSignature)),
    ];
    for (token, reason) in access {
        let told = async {
            while protected.rejection(&token).await.is_none() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, told).await.expect("refused");
        assert_eq!(protected.rejection(&token).await, Some(reason));
        let bearer = format!("Bearer {token}");
        // Whoever sent it learns that it is not valid, and no more: it may be a guess.
        assert_eq!(protected.ask_http(&[("authorization", &bearer)]).await, (401, INVALID.to_owned()));
        assert_eq!(gateway::ask(server, &[("authorization", &bearer)]).await, (401, INVALID.to_owned()));
        assert_eq!(
            server.introspect(&token).await,
            v1::IntrospectTokenResponse { revision: server.introspect(&token).await.revision, ..Default::default() }
        );
    }
    assert_eq!(protected.ask_http(&[]).await, (401, "Bearer".to_owned()), "missing");
    assert_eq!(gateway::ask(server, &[]).await, (401, "Bearer".to_owned()), "missing");

    let refresh = [
        (expired.refresh_token.clone(), "REFRESH_TOKEN_EXPIRED"),
        ("no token".to_owned(), "REFRESH_TOKEN_INVALID"),
        (String::new(), "INVALID_REQUEST"),
        (revoked.refresh_token.clone(), "SESSION_ENDED"),
        (tampered(&good.refresh_token), "REFRESH_TOKEN_INVALID"),
    ];
    for (token, reason) in refresh {
        let refused = server.refresh(&token).await.expect_err(reason);
        assert_eq!(refusal(&refused), (Code::InvalidArgument, reason.to_owned()));
    }
    assert!(server.introspect(&good.access_token).await.active, "nothing happened to the good one");
}
