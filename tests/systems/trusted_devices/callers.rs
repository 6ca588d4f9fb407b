//! Who may end whose sessions: users their own, a support desk anybody's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use token_authority::config::{AnonymousCalls, Config};
use token_authority::domain::client::{Client, Role};
use token_authority::domain::ids::{ClientId, RealmName};
use token_authority::domain::policy::Allowed;
use token_authority::proto::v1;
use token_authority::verify::client::{RegisteredClient, SecretHash};
use tonic::{Code, Request};

use crate::boot::start_with;
use crate::test_server::{TestServer, refusal};
use crate::{audit_log, boot};

pub(super) async fn b4_users_end_their_own_sessions_and_administrators_those_of_anybody(server: &TestServer) {
    let office = start_with(&server.realm(), server.backend().store(), with_support_desk).await;
    let [phone, laptop] = [office.login("ann", "phone").await, office.login("ann", "laptop").await];
    let (ben, cat) = (office.login("ben", "phone").await, office.login("cat", "phone").await);
    let mark = audit_log::mark();
    let user = format!("Bearer {}", phone.access_token);
    let support = format!("Basic {}", STANDARD.encode(format!("support:{SUPPORT_SECRET}")));

    // A user, by nothing but the token that he has anyway.
    assert_eq!(end_one(&office, &user, &ben).await, Err(Code::PermissionDenied));
    assert_eq!(end_all(&office, &user, "ben").await, Err(Code::PermissionDenied));
    end_one(&office, &user, &laptop).await.expect("his own");
    assert_eq!(end_all(&office, &user, "ann").await, Ok(1));
    assert_eq!(end_all(&office, &user, "ann").await, Err(Code::Unauthenticated), "his token ended with it");

    // A support desk, for anybody; it issues nothing.
    end_one(&office, &support, &ben).await.expect("anybody's");
    assert_eq!(end_all(&office, &support, "cat").await, Ok(1));
    let login = v1::IssueTokenRequest { realm: office.realm(), subject: "ann".to_owned(), ..Default::default() };
    let refused = office.tokens.clone().issue_token(shown(&support, login)).await.expect_err("not its role");
    assert_eq!(refusal(&refused), (Code::PermissionDenied, "CLIENT_NOT_PERMITTED".to_owned()));
    assert_eq!(end_all(&office, "Basic c3VwcG9ydDp3cm9uZw==", "dan").await, Err(Code::Unauthenticated));
    let asked = audit_log::since(mark, &office.realm());
    let asked = asked.iter().filter(|line| line["event"] == "revocation_asked");
    let by: Vec<_> = asked.map(|line| line["by"].as_str().expect("who")).collect();
    let own = |by: &str| by.strip_prefix("session:").is_some_and(|session| session.len() == 32);
    assert!(own(by[0]) && own(by[1]), "{by:?}");
    assert_eq!(by[2..], ["client:support", "client:support"], "and nobody who was refused");
    for tokens in [&phone, &laptop, &ben, &cat] {
        assert!(!office.introspect(&tokens.access_token).await.active);
    }
    boot::stop(office).await;
}

const SUPPORT_SECRET: &str = "tas_0123456789abcdefghijkl";

/// Registers the support desk, as an operator would in the realm's file.
fn with_support_desk(config: &mut Config) {
    let support = RegisteredClient {
        client: Client {
            id: ClientId::parse("support").expect("a client"),
            grants: [].into(),
            audiences: Allowed::Only([].into()),
            scopes: Allowed::Only([].into()),
            roles: [Role::SessionAdmin].into(),
        },
        secrets: vec![SecretHash::of(SUPPORT_SECRET).expect("long enough")],
        keys: Vec::new(),
        certificates: Vec::new(),
        service_accounts: Vec::new(),
    };
    // Logins come from this machine, and show no more.
    config.anonymous = Some(AnonymousCalls::Operator);
    config.clients.insert(RealmName::parse("trusted-devices").expect("a realm"), vec![support]);
}

/// A request that shows who makes it.
fn shown<T>(authorization: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", authorization.parse().expect("a value"));
    request
}

async fn end_one(server: &TestServer, authorization: &str, tokens: &v1::TokenPair) -> Result<(), Code> {
    let (realm, session_id) = (server.realm(), tokens.session_id.clone());
    let request = shown(authorization, v1::RevokeSessionRequest { realm, session_id, ..Default::default() });
    server.sessions.clone().revoke_session(request).await.map(drop).map_err(|status| status.code())
}

async fn end_all(server: &TestServer, authorization: &str, subject: &str) -> Result<i32, Code> {
    let (realm, subject) = (server.realm(), subject.to_owned());
    let request = shown(authorization, v1::RevokeAllSessionsRequest { realm, subject, ..Default::default() });
    let answer = server.sessions.clone().revoke_all_sessions(request).await.map_err(|status| status.code())?;
    Ok(answer.into_inner().revoked_count)
}
