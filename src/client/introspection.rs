//! Asks the authority about a token, and reads its answer as strictly as a token of our own checking.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::value::Kind;
use serde_json::{Map, Number, Value};
use tokio::time::sleep;
use tonic::{Code, Request};
use tracing::debug;

use super::authority_channel::AuthorityChannel;
use super::backoff::Backoff;
use super::rejection::{NotAuthenticated, Outage, Rejection};
use crate::domain::ids::{Audience, ClientId, KeyId, RealmName, Scope, Sid, Subject, TokenId};
use crate::domain::time::Timestamp;
use crate::proto::v1::token_service_client::TokenServiceClient;
use crate::proto::v1::{IntrospectTokenRequest, IntrospectTokenResponse, TokenKind};
use crate::verify::{self, VerifiedToken, Worded};

const DEADLINE: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 3;
/// Short: a request waits meanwhile.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
/// The largest integer that a JSON number holds exactly (RFC 8259, section 6).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Of one realm's tokens.
#[derive(Debug)]
pub(super) struct Introspection {
    pub(super) authority: TokenServiceClient<AuthorityChannel>,
    pub(super) realm: RealmName,
}

impl Introspection {
    /// What the authority says of an active access token. Repeated while it is away: of several addresses,
    /// another may answer.
    pub(super) async fn ask(&self, token: &str) -> Result<IntrospectTokenResponse, Rejection> {
        let mut failures = 0;
        loop {
            let mut request = Request::new(IntrospectTokenRequest {
                realm: self.realm.to_string(),
                token: token.to_owned(),
                ..IntrospectTokenRequest::default()
            });
            request.set_timeout(DEADLINE);
            match self.authority.clone().introspect_token(request).await.map(tonic::Response::into_inner) {
                // An active refresh token is no access token.
                Ok(answer) if answer.active && answer.token_kind() == TokenKind::Access => return Ok(answer),
                Ok(_) => return Err(Rejection::NotAuthenticated(NotAuthenticated::NotActive)),
                Err(status) if status.code() == Code::Unavailable && failures + 1 < ATTEMPTS => {
                    sleep(AGAIN.pause(failures)).await;
                    failures += 1;
                }
                Err(status) => {
                    debug!(realm = %self.realm, %status, "a token can't be introspected");
                    return Err(Rejection::Unavailable(Outage::Introspection));
                }
            }
        }
    }

    /// The token of this issuer, where nothing but the answer is known of it.
    pub(super) async fn token(&self, issuer: &str, token: &str) -> Result<VerifiedToken, Rejection> {
        if token.len() > verify::MAX_TOKEN_BYTES {
            return Err(Rejection::NotAuthenticated(NotAuthenticated::Token(verify::Rejection::TooLarge)));
        }
        let answer = self.ask(token).await?;
        if answer.issuer != issuer {
            return Err(Rejection::NotAuthenticated(NotAuthenticated::Token(verify::Rejection::WrongIssuer)));
        }
        if answer.confirmation.is_some() {
            return Err(Rejection::NotAuthenticated(NotAuthenticated::BoundToKey));
        }
        read(&self.realm, token, answer).ok_or_else(|| {
            debug!(realm = %self.realm, "an introspection's answer can't be read");
            Rejection::Unavailable(Outage::Introspection)
        })
    }
}

fn read(realm: &RealmName, token: &str, answer: IntrospectTokenResponse) -> Option<VerifiedToken> {
    let all = |names: &[String]| names.iter().map(|name| Audience::parse(name).ok()).collect::<Option<Vec<_>>>();
    let scope = answer.scope.iter().map(|name| Scope::parse(name).ok()).collect::<Option<Vec<_>>>();
    Some(VerifiedToken {
        realm: realm.clone(),
        kid: kid(token)?,
        id: TokenId::parse(&answer.token_id)?,
        subject: Subject::parse(&answer.subject).ok()?,
        client: ClientId::parse(&answer.client_id).ok()?,
        audience: all(&answer.audience)?,
        scope: scope?,
        session: if answer.session_id.is_empty() { None } else { Some(Sid::parse(&answer.session_id).ok()?) },
        session_client: None,
        issued: Timestamp::from_seconds(answer.issue_time?.seconds),
        expires: Timestamp::from_seconds(answer.expire_time?.seconds),
        not_before: None,
        confirmation: None,
        claims: members(answer.claims.unwrap_or_default())?.into(),
        issuer: answer.issuer,
        worded: Worded::default(),
    })
}

/// Of a token that the authority has found good.
fn kid(token: &str) -> Option<KeyId> {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    KeyId::parse(header.get("kid")?.as_str()?).ok()
}

fn members(given: prost_types::Struct) -> Option<Map<String, Value>> {
    given.fields.into_iter().map(|(name, value)| Some((name, json(value)?))).collect()
}

/// The numbers of a `Struct` are doubles: whole ones were integers in the token.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and exact")]
fn json(value: prost_types::Value) -> Option<Value> {
    Some(match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() <= EXACT => Value::from(number as i64),
        Some(Kind::NumberValue(number)) => Value::Number(Number::from_f64(number)?),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect::<Option<_>>()?,
        Some(Kind::StructValue(nested)) => Value::Object(members(nested)?),
    })
}
