//! A realm whose access tokens say no more than it lists: everything works on them as on full ones, since
//! what they leave out is the same for all.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::value::Kind;
use serde_json::{Map, Value};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::{Audience, ClientId};
use token_authority::domain::own_claims::{ClaimType, OwnClaim, OwnClaims, Presence};
use token_authority::domain::policy::{Allowed, RealmPolicy, Rotation};
use token_authority::domain::token_profile::{SaidBy, TokenProfile};
use token_authority::proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::test_server::{TestServer, refusal};

const PHONE: &str = "+491701234567";

/// Tokens with a user, a phone number, a role, and nothing else that a token can do without.
fn plain(policy: &mut RealmPolicy) {
    let required = OwnClaim { kind: ClaimType::String, presence: Presence::Required };
    let api = Audience::parse("api").expect("an audience");
    policy.algorithm = Algorithm::Hs256;
    policy.rotation = Rotation::Off;
    policy.audiences = Allowed::Only([api.clone()].into());
    policy.default_audience = api.clone();
    policy.scopes = Allowed::Only([].into());
    policy.claims = OwnClaims::Only(["phone_number", "role"].map(|name| (name.to_owned(), required)).into());
    policy.profile = Arc::new(TokenProfile {
        subject_claim: "user_id".to_owned(),
        issuer: SaidBy::Realm(()),
        audience: SaidBy::Realm(api),
        client: SaidBy::Realm(ClientId::parse("cli").expect("a client")),
        scope: SaidBy::Realm(()),
        session: SaidBy::Realm(()),
        confirmation: SaidBy::Realm(()),
    });
}

fn members<const N: usize>(members: [(&str, Kind); N]) -> Option<prost_types::Struct> {
    let fields = members.map(|(name, kind)| (name.to_owned(), prost_types::Value { kind: Some(kind) }));
    Some(prost_types::Struct { fields: fields.into() })
}

fn text(value: &str) -> Kind {
    Kind::StringValue(value.to_owned())
}

fn login() -> v1::IssueTokenRequest {
    let claims = members([("phone_number", text(PHONE)), ("role", text("user"))]);
    v1::IssueTokenRequest { subject: "ann".into(), claims, ..Default::default() }
}

fn payload(token: &str) -> Map<String, Value> {
    let payload = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("an object")
}

/// Reason, and the one field that it names.
fn refused(status: &Status) -> (String, String) {
    let fields = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    let fields: Vec<_> = fields.into_iter().map(|violation| violation.field).collect();
    (refusal(status).1, fields.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_have_exactly_the_claims_of_their_realm() {
    let server = TestServer::start_with(plain).await;
    let first = server.issue(login()).await.expect("issues");
    server.pass(Duration::from_secs(60));
    let second = server.refresh(&first.refresh_token).await.expect("refreshes");
    for tokens in [&first, &second] {
        let mut claims: Vec<_> = payload(&tokens.access_token).into_iter().map(|(name, _)| name).collect();
        claims.sort();
        assert_eq!(claims, ["exp", "iat", "jti", "phone_number", "role", "user_id"]);
        assert!(!tokens.session_id.is_empty());
    }
    assert_eq!(payload(&first.access_token)["user_id"], "ann");
    assert_ne!(payload(&first.access_token)["jti"], payload(&second.access_token)["jti"]);
    assert_eq!(second.refresh_token, first.refresh_token);
    let keys = server.tokens.clone().get_jwks(v1::GetJwksRequest::default()).await.expect("answers").into_inner();
    assert_eq!(keys.keys, [], "a secret is not published");
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_knows_what_tokens_leave_out() {
    let server = TestServer::start_with(plain).await;
    let tokens = server.issue(login()).await.expect("issues");
    let mut client = server.tokens.clone();
    let issuer = format!("http://{}", server.http());
    for consistency in [None, Some(v1::consistency::Requirement::FullyConsistent(true))] {
        let consistency = consistency.map(|requirement| v1::Consistency { requirement: Some(requirement) });
        let token = tokens.access_token.clone();
        let request = v1::IntrospectTokenRequest { token, consistency, ..Default::default() };
        let answer = client.introspect_token(request).await.expect("answers").into_inner();
        assert!(answer.active);
        assert_eq!((answer.subject.as_str(), answer.client_id.as_str(), &answer.issuer), ("ann", "cli", &issuer));
        assert_eq!((answer.audience, answer.session_id), (vec!["api".to_owned()], tokens.session_id.clone()));
        let claims = members([("phone_number", text(PHONE)), ("role", text("user")), ("user_id", text("ann"))]);
        assert_eq!(answer.claims, claims);
    }
    for (audience, active) in [("api", true), ("other", false)] {
        let required_audience = audience.to_owned();
        let token = tokens.access_token.clone();
        let request = v1::IntrospectTokenRequest { token, required_audience, ..Default::default() };
        assert_eq!(client.introspect_token(request).await.expect("answers").into_inner().active, active, "{audience}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_end_a_token_ends_those_that_name_no_session() {
    let server = TestServer::start_with(plain).await;
    for way in ["access token", "refresh token", "client", "realm", "claims"] {
        let tokens = server.issue(login()).await.expect("issues");
        assert!(server.introspect(&tokens.access_token).await.active);
        let (mut client, mut sessions) = (server.tokens.clone(), server.sessions.clone());
        match way {
            "access token" => drop(server.revoke(&tokens.access_token).await),
            "refresh token" => drop(server.revoke(&tokens.refresh_token).await),
            "client" => {
                let request = v1::RevokeClientRequest { client_id: "cli".into(), ..Default::default() };
                client.revoke_client(request).await.expect("revokes");
            }
            "realm" => drop(client.revoke_realm(v1::RevokeRealmRequest::default()).await.expect("revokes")),
            _ => {
                let request = v1::UpdateSessionClaimsRequest {
                    session_id: tokens.session_id.clone(),
                    claims: login().claims,
                    end_access_tokens: true,
                    ..Default::default()
                };
                sessions.update_session_claims(request).await.expect("updates");
            }
        }
        assert!(!server.introspect(&tokens.access_token).await.active, "{way}");
        assert_eq!(server.refresh(&tokens.refresh_token).await.is_ok(), way == "claims", "{way}");
        server.pass(Duration::from_secs(1));
    }
    let single = v1::IssueTokenRequest { without_session: true, ..login() };
    let single = server.issue(single).await.expect("issues").access_token;
    assert!(server.introspect(&single).await.active);
    server.revoke(&single).await;
    assert!(!server.introspect(&single).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_could_not_say_is_refused_with_its_field() {
    let server = TestServer::start_with(plain).await;
    let claims = |members| v1::IssueTokenRequest { claims: members, ..login() };
    let (phone, role) = (("phone_number", text(PHONE)), ("role", text("user")));
    let jkt = v1::confirmation::Thumbprint::JwkThumbprint("A".repeat(43));
    let confirmation = Some(v1::Confirmation { thumbprint: Some(jkt) });
    let cases = [
        (claims(members([phone.clone(), role.clone(), ("email", text("x"))])), "CLAIM_NOT_ALLOWED", "claims.email"),
        (claims(members([phone.clone(), role.clone(), ("user_id", text("x"))])), "CLAIM_NOT_ALLOWED", "claims.user_id"),
        (claims(members([phone.clone(), role, ("sub", text("x"))])), "CLAIM_NOT_ALLOWED", "claims.sub"),
        (claims(members([phone.clone()])), "CLAIM_NOT_ALLOWED", "claims.role"),
        (claims(members([])), "CLAIM_NOT_ALLOWED", "claims.phone_number"),
        (claims(members([phone, ("role", Kind::NumberValue(7.0))])), "CLAIM_NOT_ALLOWED", "claims.role"),
        (v1::IssueTokenRequest { client_id: "app".into(), ..login() }, "CLAIM_NOT_ALLOWED", "client_id"),
        (v1::IssueTokenRequest { confirmation, ..login() }, "CLAIM_NOT_ALLOWED", "confirmation"),
        (v1::IssueTokenRequest { audience: vec!["other".into()], ..login() }, "AUDIENCE_NOT_ALLOWED", ""),
        (v1::IssueTokenRequest { scope: vec!["read".into()], ..login() }, "SCOPE_NOT_GRANTED", ""),
    ];
    let session_id = server.issue(login()).await.expect("issues").session_id;
    for (request, reason, field) in cases {
        let expected = (reason.to_owned(), field.to_owned());
        let status = server.issue(request.clone()).await.expect_err(field);
        assert_eq!(refused(&status), expected, "{request:?}");
        assert!(!format!("{status:?}").contains(PHONE), "a claim's value is repeated");
        let single = v1::IssueTokenRequest { without_session: true, ..request.clone() };
        assert_eq!(refused(&server.issue(single).await.expect_err(field)), expected, "{request:?}");
        if field.starts_with("claims.") {
            let update = v1::UpdateSessionClaimsRequest {
                session_id: session_id.clone(),
                claims: request.claims,
                ..Default::default()
            };
            let status = server.sessions.clone().update_session_claims(update).await.expect_err(field);
            assert_eq!(refused(&status), expected);
        }
    }
}

/// The profile is the realm's word: a token from before a change is not read by what it looks like.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_profile_refuses_older_tokens_and_refreshes_what_they_could_say() {
    let server = TestServer::start_with(|policy| policy.algorithm = Algorithm::Hs256).await;
    let login_as =
        |client: &str| v1::IssueTokenRequest { client_id: client.into(), audience: vec!["api".into()], ..login() };
    let (own, other) = (server.issue(login_as("cli")).await.unwrap(), server.issue(login_as("app")).await.unwrap());
    let issuer = format!("http://{}", server.http());
    let server = server
        .restart_configured(|config| {
            config.public_url = Some(issuer);
            plain(&mut config.realms[0]);
        })
        .await;
    assert!(!server.introspect(&own.access_token).await.active);
    let renewed = server.refresh(&own.refresh_token).await.expect("refreshes");
    assert!(server.introspect(&renewed.access_token).await.active);
    assert!(!payload(&renewed.access_token).contains_key("sub"));
    let refused = refused(&server.refresh(&other.refresh_token).await.expect_err("it would pass for the one client"));
    assert_eq!(refused, ("CLAIM_NOT_ALLOWED".to_owned(), "client_id".to_owned()));
    let again = server.restart_configured(|config| config.realms[0].algorithm = Algorithm::Hs256).await;
    assert!(!again.introspect(&renewed.access_token).await.active, "full tokens say everything");
    let renewed = again.refresh(&own.refresh_token).await.expect("refreshes").access_token;
    assert_eq!(payload(&renewed)["sub"], "ann");
    assert_eq!(again.refresh("tar_x").await.expect_err("garbage").code(), Code::InvalidArgument);
}
