//! `token issue`.

use std::collections::BTreeMap;

use clap::Args;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::Value as Json;

use crate::proto::v1;
use crate::proto::v1::token_service_client::TokenServiceClient;

use super::super::Streams;
use super::super::answer;
use super::super::client::{ClientFlags, request};
use super::super::failure::{Exit, Failure};

/// Issue a token pair to a subject, and open a session
#[derive(Debug, Args)]
pub(in crate::cli) struct Issue {
    /// Whom the token is about: the `sub` claim
    #[arg(long)]
    subject: String,
    /// The client that will hold it [default: the realm's]
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    client: String,
    /// Who it will be presented to; may be repeated [default: the realm's]
    #[arg(long = "aud", visible_alias = "audience", value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// A scope to grant; may be repeated
    #[arg(long)]
    scope: Vec<String>,
    /// A claim of your own; may be repeated. Text is quoted: --claim 'role="admin"' --claim level=3
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = parse_claim)]
    claims: Vec<(String, Value)>,
    /// The device, by a stable id; a login on the same one replaces the session before
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Use the realm's longer lifetime
    #[arg(long, conflicts_with = "without_session")]
    remember_me: bool,
    /// Issue an access token alone: no session, no refresh token
    #[arg(long)]
    without_session: bool,
    /// Makes a repeated call open no second session
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    request_id: String,
}

impl Issue {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let message = self.request(flags.realm())?;
        let mut client = TokenServiceClient::new(flags.connect().await?);
        let answer = client.issue_token(request(message)).await.map_err(|status| flags.failure(&status))?.into_inner();
        if flags.json {
            answer::json(streams.out, "IssueTokenResponse", &answer)?;
        } else {
            super::pair(&answer.tokens.unwrap_or_default()).write(streams.out)?;
        }
        Ok(Exit::Done)
    }

    fn request(self, realm: String) -> Result<v1::IssueTokenRequest, Failure> {
        let mut claims = BTreeMap::new();
        for (name, value) in self.claims {
            if claims.contains_key(&name) {
                return Err(Failure::Said(Exit::Usage, format!("--claim {name:?} is given twice")));
            }
            claims.insert(name, value);
        }
        Ok(v1::IssueTokenRequest {
            realm,
            subject: self.subject,
            client_id: self.client,
            audience: self.audience,
            scope: self.scope,
            claims: (!claims.is_empty()).then_some(Struct { fields: claims }),
            device: self.device.map(|device_id| v1::Device { device_id, ..v1::Device::default() }),
            remember_me: self.remember_me,
            without_session: self.without_session,
            confirmation: None,
            request_id: self.request_id,
        })
    }
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    const FORM: &str = "must be NAME=JSON, such as role='\"admin\"', level=3 or roles='[\"a\",\"b\"]'";
    let (name, json) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(FORM)?;
    let json: Json = serde_json::from_str(json).map_err(|error| format!("{FORM}: {error}"))?;
    Ok((name.to_owned(), value(json).ok_or("a number beyond 2^53 loses digits on the way: quote it")?))
}

/// `None` for a number that a `google.protobuf.Value` can't carry as it is.
fn value(json: Json) -> Option<Value> {
    const EXACT: u64 = 1 << 53;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(boolean) => Kind::BoolValue(boolean),
        Json::Number(number) => {
            let exact = number.is_f64() || number.as_i64().is_some_and(|integer| integer.unsigned_abs() <= EXACT);
            Kind::NumberValue(number.as_f64().filter(|_| exact)?)
        }
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => {
            Kind::ListValue(ListValue { values: items.into_iter().map(value).collect::<Option<_>>()? })
        }
        Json::Object(members) => {
            let fields = members.into_iter().map(|(name, member)| Some((name, value(member)?)));
            Kind::StructValue(Struct { fields: fields.collect::<Option<_>>()? })
        }
    };
    Some(Value { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_a_name_and_json() {
        let (name, value) = parse_claim("role=\"a=b\"").expect("a claim");
        assert_eq!((name.as_str(), value.kind), ("role", Some(Kind::StringValue("a=b".to_owned()))));
        for good in ["a=null", "a=true", "a=-1.5e3", "a=9007199254740992", "a=[1,{\"b\":[]}]"] {
            assert!(parse_claim(good).is_ok(), "{good}");
        }
        for (bad, says) in [
            ("role", "NAME=JSON"),
            ("=1", "NAME=JSON"),
            ("role=admin", "role='\"admin\"'"),
            ("a=9007199254740993", "quote it"),
            ("a=[-9007199254740993]", "quote it"),
            ("a=18446744073709551615", "quote it"),
        ] {
            let error = parse_claim(bad).expect_err(bad);
            assert!(error.contains(says), "{error}");
        }
    }
}
