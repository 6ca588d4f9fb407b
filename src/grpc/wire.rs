//! Between messages and the use cases' types: decodes names, times and claims, and back. No rules.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

use crate::authority::introspect_token::Consistency;
use crate::authority::{Error, IssuedTokens};
use crate::domain::ids::{ClientId, DeviceId, InvalidName};
use crate::domain::revocation::Revision;
use crate::domain::session::Device;
use crate::domain::time::Timestamp;
use crate::domain::token::Confirmation;
use crate::proto::v1;

/// The largest integer that a JSON number holds exactly (RFC 8259, section 6).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Names of a list, each once; the error names the item.
pub(super) fn names<T: PartialEq>(
    field: &str,
    given: &[String],
    parse: fn(&str) -> Result<T, InvalidName>,
) -> Result<Vec<T>, Error> {
    let mut parsed = Vec::with_capacity(given.len());
    for (index, name) in given.iter().enumerate() {
        let name = parse(name).map_err(|invalid| Error::invalid(format!("{field}[{index}]"), invalid.problem))?;
        if !parsed.contains(&name) {
            parsed.push(name);
        }
    }
    Ok(parsed)
}

/// A client, if one is named.
pub(super) fn client(name: &str) -> Result<Option<ClientId>, Error> {
    Ok(if name.is_empty() { None } else { Some(ClientId::parse(name)?) })
}

pub(super) fn device(device: Option<v1::Device>) -> Result<Device, Error> {
    let Some(device) = device else { return Ok(Device::default()) };
    Ok(Device {
        id: if device.device_id.is_empty() { None } else { Some(DeviceId::parse(&device.device_id)?) },
        platform: device.platform,
        name: device.name,
        user_agent: device.user_agent,
        ip_address: device.ip_address,
    })
}

pub(super) fn device_message(device: &Device) -> v1::Device {
    v1::Device {
        device_id: device.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        platform: device.platform.clone(),
        name: device.name.clone(),
        user_agent: device.user_agent.clone(),
        ip_address: device.ip_address.clone(),
    }
}

pub(super) fn confirmation(confirmation: Option<v1::Confirmation>) -> Result<Option<Confirmation>, Error> {
    use v1::confirmation::Thumbprint;
    let thumbprint = |text: &str, field: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| Error::invalid(field, "must be the 43 base64url characters of a SHA-256"))
    };
    match confirmation.and_then(|confirmation| confirmation.thumbprint) {
        None => Ok(None),
        Some(Thumbprint::JwkThumbprint(text)) => {
            thumbprint(&text, "confirmation.jwk_thumbprint").map(|bytes| Some(Confirmation::JwkThumbprint(bytes)))
        }
        Some(Thumbprint::CertificateThumbprint(text)) => thumbprint(&text, "confirmation.certificate_thumbprint")
            .map(|bytes| Some(Confirmation::CertificateThumbprint(bytes))),
    }
}

pub(super) fn confirmation_message(confirmation: &Confirmation) -> v1::Confirmation {
    use v1::confirmation::Thumbprint;
    v1::Confirmation {
        thumbprint: Some(match confirmation {
            Confirmation::JwkThumbprint(bytes) => Thumbprint::JwkThumbprint(URL_SAFE_NO_PAD.encode(bytes)),
            Confirmation::CertificateThumbprint(bytes) => {
                Thumbprint::CertificateThumbprint(URL_SAFE_NO_PAD.encode(bytes))
            }
        }),
    }
}

pub(super) fn consistency(consistency: Option<v1::Consistency>) -> Result<Consistency, Error> {
    use v1::consistency::Requirement;
    match consistency.and_then(|consistency| consistency.requirement) {
        None | Some(Requirement::MinimizeLatency(_) | Requirement::FullyConsistent(false)) => {
            Ok(Consistency::MinimizeLatency)
        }
        Some(Requirement::FullyConsistent(true)) => Ok(Consistency::FullyConsistent),
        Some(Requirement::AtLeastAsFresh(text)) => {
            revision("consistency.at_least_as_fresh", &text).map(Consistency::AtLeastAsFresh)
        }
    }
}

pub(super) fn revision(field: &'static str, text: &str) -> Result<Revision, Error> {
    Revision::parse(text).ok_or_else(|| Error::invalid(field, "must be a revision that the authority gave out"))
}

/// JSON members of a `Struct`. Its numbers are doubles: whole ones become JSON integers.
pub(super) fn members(given: Option<prost_types::Struct>) -> Result<Map<String, Value>, Error> {
    let fields = given.map(|given| given.fields).unwrap_or_default();
    fields.into_iter().map(|(name, value)| Ok((name.clone(), json(value, &name)?))).collect()
}

fn json(value: prost_types::Value, claim: &str) -> Result<Value, Error> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number)) => Value::Number(json_number(number, claim)?),
        Some(Kind::ListValue(list)) => {
            list.values.into_iter().map(|value| json(value, claim)).collect::<Result<_, _>>()?
        }
        Some(Kind::StructValue(fields)) => fields
            .fields
            .into_iter()
            .map(|(name, value)| Ok((name, json(value, claim)?)))
            .collect::<Result<Map<_, _>, Error>>()
            .map(Value::Object)?,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and exact")]
fn json_number(number: f64, claim: &str) -> Result<Number, Error> {
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number).ok_or_else(|| {
        let shown: String = claim.chars().take(64).collect();
        Error::invalid(format!("claims.{shown}"), "must be a finite number")
    })
}

/// Claims as a `Struct`.
pub(super) fn claims_message(members: &Map<String, Value>) -> prost_types::Struct {
    prost_types::Struct { fields: members.iter().map(|(name, value)| (name.clone(), value_message(value))).collect() }
}

fn value_message(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(value_message).collect() })
        }
        Value::Object(members) => Kind::StructValue(claims_message(members)),
    };
    prost_types::Value { kind: Some(kind) }
}

pub(super) fn time(time: Timestamp) -> Option<prost_types::Timestamp> {
    Some(timestamp(time))
}

#[expect(clippy::cast_possible_truncation, reason = "nanoseconds of a second fit")]
pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.millis().rem_euclid(1000) as i32 * 1_000_000;
    prost_types::Timestamp { seconds: time.seconds(), nanos }
}

pub(super) fn token_pair(tokens: IssuedTokens) -> v1::TokenPair {
    let IssuedTokens { grant, access_token, refresh_token } = tokens;
    v1::TokenPair {
        access_token,
        token_type: "Bearer".to_owned(),
        access_expire_time: time(grant.access.expires),
        refresh_token: refresh_token.unwrap_or_default(),
        refresh_expire_time: grant.refresh.as_ref().and_then(|refresh| time(refresh.expires)),
        session_id: grant.access.session.map(|sid| sid.to_string()).unwrap_or_default(),
        refresh_after_time: grant.refresh.as_ref().and_then(|refresh| time(refresh.refresh_after)),
        scope: texts(&grant.access.scope),
    }
}

pub(super) fn texts<T: ToString>(names: &[T]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(super) fn json_web_key(key: &Value) -> v1::JsonWebKey {
    let member = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    v1::JsonWebKey {
        kty: member("kty"),
        kid: member("kid"),
        alg: member("alg"),
        r#use: member("use"),
        n: member("n"),
        e: member("e"),
        crv: member("crv"),
        x: member("x"),
        y: member("y"),
    }
}
