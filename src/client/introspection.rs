//! Asks the authority about a token (RFC 7662), and reads its answer into what a verified token says. Knows no
//! key: the authority vouches for all of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::value::Kind;
use serde_json::{Map, Value};
use tokio::time::sleep;
use tonic::{Code, Request};
use tracing::debug;

use super::authority_channel::AuthorityChannel;
use super::backoff::Backoff;
use super::rejection::{NotAuthenticated, Outage, Rejection};
use super::revocation_entry::time;
use crate::domain::ids::{Audience, ClientId, KeyId, RealmName, Scope, Sid, Subject, TokenId};
use crate::proto::v1::token_service_client::TokenServiceClient;
use crate::proto::v1::{IntrospectTokenRequest, IntrospectTokenResponse, TokenKind};
use crate::verify::VerifiedToken;

const DEADLINE: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 3;
/// Short: a request waits meanwhile.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
/// Whole numbers up to here are the same as JSON and in a `Struct`.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// What the authority says of an active token. Repeated while it is away: of several addresses, another may
/// answer.
pub(super) async fn introspect(
    authority: &TokenServiceClient<AuthorityChannel>,
    realm: &RealmName,
    token: &str,
) -> Result<IntrospectTokenResponse, Rejection> {
    let mut failures = 0;
    loop {
        let (realm_name, token) = (realm.to_string(), token.to_owned());
        let mut request = Request::new(IntrospectTokenRequest { realm: realm_name, token, ..Default::default() });
        request.set_timeout(DEADLINE);
        match authority.clone().introspect_token(request).await {
            Ok(answer) if answer.get_ref().active => return Ok(answer.into_inner()),
            Ok(_) => return Err(Rejection::NotAuthenticated(NotAuthenticated::NotActive)),
            Err(status) if status.code() == Code::Unavailable && failures + 1 < ATTEMPTS => {
                sleep(AGAIN.pause(failures)).await;
                failures += 1;
            }
            Err(status) => {
                debug!(%realm, %status, "a token can't be introspected");
                return Err(Rejection::Unavailable(Outage::Introspection));
            }
        }
    }
}

/// The access token of an answer, that of a bearer; `None` for a refresh token, and for what no authority says.
pub(super) fn access_token(realm: &RealmName, token: &str, answer: IntrospectTokenResponse) -> Option<VerifiedToken> {
    if answer.token_kind() != TokenKind::Access {
        return None;
    }
    let audience = answer.audience.iter().map(|name| Audience::parse(name));
    let scope = answer.scope.iter().map(|name| Scope::parse(name));
    let session = (!answer.session_id.is_empty()).then(|| Sid::parse(&answer.session_id)).transpose();
    Some(VerifiedToken {
        realm: realm.clone(),
        kid: kid(token)?,
        issuer: answer.issuer,
        id: TokenId::parse(&answer.token_id)?,
        subject: Subject::parse(&answer.subject).ok()?,
        client: ClientId::parse(&answer.client_id).ok()?,
        audience: audience.collect::<Result<_, _>>().ok()?,
        scope: scope.collect::<Result<_, _>>().ok()?,
        session: session.ok()?,
        session_client: None,
        issued: time(answer.issue_time?),
        expires: time(answer.expire_time?),
        not_before: None,
        confirmation: None,
        claims: answer.claims.map(members).unwrap_or_default(),
    })
}

fn kid(token: &str) -> Option<KeyId> {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    let header: Map<String, Value> = serde_json::from_slice(&header).ok()?;
    KeyId::parse(header.get("kid")?.as_str()?).ok()
}

fn members(claims: prost_types::Struct) -> Map<String, Value> {
    claims.fields.into_iter().map(|(name, value)| (name, json(value))).collect()
}

fn json(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::from(value),
        // A whole number that went through a `Struct` has lost that it was one.
        #[allow(clippy::cast_possible_truncation, reason = "whole and within the range")]
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER => {
            Value::from(number as i64)
        }
        Some(Kind::NumberValue(number)) => Value::from(number),
        Some(Kind::StringValue(text)) => Value::from(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::StructValue(claims)) => Value::Object(members(claims)),
    }
}
