//! `token introspect`.

use clap::Args;
use prost_types::Value;
use prost_types::value::Kind;
use serde_json::Value as Json;

use crate::proto::v1;
use crate::proto::v1::token_service_client::TokenServiceClient;

use super::super::Streams;
use super::super::answer::{self, Lines};
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};

/// Say whether a token is active, and what it carries; exit code 1 if it is not
#[derive(Debug, Args)]
pub(in crate::cli) struct Introspect {
    /// The token of either kind, or - for standard input, where no process list shows it
    token: String,
    /// A token without this audience is not active
    #[arg(
        long = "aud",
        visible_alias = "audience",
        value_name = "AUDIENCE",
        default_value = "",
        hide_default_value = true
    )]
    required_audience: String,
    /// A token without this scope is not active; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    required_scope: Vec<String>,
}

impl Introspect {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = v1::IntrospectTokenRequest {
            realm: flags.realm(),
            token: super::presented(self.token, streams.input)?,
            required_audience: self.required_audience,
            required_scope: self.required_scope,
            ..v1::IntrospectTokenRequest::default()
        };
        let mut client = TokenServiceClient::new(flags.connect().await?);
        let answer = client.introspect_token(request(message)).await;
        let answer = answer.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "IntrospectTokenResponse", &answer)?;
        } else {
            lines(&answer).write(streams.out)?;
        }
        Ok(if answer.active { Exit::Done } else { Exit::Refused })
    }
}

fn lines(answer: &v1::IntrospectTokenResponse) -> Lines {
    let kind = match answer.token_kind() {
        v1::TokenKind::Access => "access",
        v1::TokenKind::Refresh => "refresh",
        v1::TokenKind::Unspecified => "",
    };
    let claims = answer.claims.as_ref().filter(|claims| !claims.fields.is_empty());
    let claims = claims.map(|claims| Json::Object(members(claims)).to_string());
    Lines::default()
        .text("active", if answer.active { "true" } else { "false" })
        .text("token_kind", kind)
        .text("subject", &answer.subject)
        .text("client_id", &answer.client_id)
        .text("issuer", &answer.issuer)
        .list("audience", &answer.audience)
        .list("scope", &answer.scope)
        .text("session_id", &answer.session_id)
        .text("token_id", &answer.token_id)
        .time("issue_time", answer.issue_time)
        .time("expire_time", answer.expire_time)
        .text("claims", &claims.unwrap_or_default())
}

fn members(claims: &prost_types::Struct) -> serde_json::Map<String, Json> {
    claims.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect()
}

fn json(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(boolean)) => (*boolean).into(),
        Some(Kind::NumberValue(number)) => number_without_fraction(*number).unwrap_or_else(|| (*number).into()),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(claims)) => Json::Object(members(claims)),
    }
}

/// The wire has no integers; people expect `3`, not `3.0`.
fn number_without_fraction(number: f64) -> Option<Json> {
    let text = number.to_string();
    text.parse::<i64>().ok().map(Json::from)
}
