//! Claims as JSON: given with a login, and read from a token or an answer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::Value;

/// As a request carries them.
pub(crate) fn given(claims: &Value) -> Option<Struct> {
    match proto(claims).kind {
        Some(Kind::StructValue(members)) => Some(members),
        other => panic!("no object: {other:?}"),
    }
}

fn proto(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().expect("a number")),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(proto).collect() }),
        Value::Object(members) => {
            let fields = members.iter().map(|(name, value)| (name.clone(), proto(value))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    prost_types::Value { kind: Some(kind) }
}

/// As an answer carries them.
pub(crate) fn answered(claims: Option<&Struct>) -> Value {
    claims.map_or(Value::Null, |members| {
        Value::Object(members.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect())
    })
}

fn json(value: &prost_types::Value) -> Value {
    match value.kind.as_ref().expect("a value") {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(value) => Value::from(*value),
        Kind::NumberValue(number) => Value::from(*number),
        Kind::StringValue(text) => Value::from(text.as_str()),
        Kind::ListValue(list) => list.values.iter().map(json).collect(),
        Kind::StructValue(members) => answered(Some(members)),
    }
}

/// What a token's header says.
pub(crate) fn header(token: &str) -> Value {
    part(token, 0)
}

/// What a token's payload says.
pub(crate) fn payload(token: &str) -> Value {
    part(token, 1)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}
