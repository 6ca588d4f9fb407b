//! JSON objects read strictly: no duplicate member at any level, bounded nesting, nothing after the
//! end. Two parsers that disagree on a duplicate are an attack (RFC 7515, section 10.12).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// As many as a token's payload has, so that reading one moves none of them.
const TYPICAL_MEMBERS: usize = 16;

/// Reads one object that nests at most `depth` levels, itself included.
pub(super) fn object(bytes: &[u8], depth: usize) -> Option<Map<String, Value>> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth, room: TYPICAL_MEMBERS }.deserialize(&mut json).ok()?;
    json.end().ok()?;
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
    /// For so many members at once.
    room: usize,
}

impl Strict {
    fn inner<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth, room: 0 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::with_capacity(self.room);
        while let Some(name) = members.next_key::<String>()? {
            let Entry::Vacant(member) = object.entry(name) else {
                return Err(A::Error::custom("duplicate member"));
            };
            member.insert(members.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_what_is_one_plain_object() {
        for text in ["{}", " {\"a\": 1} ", r#"{"a":{"b":[1,2.5,null,true,"x"]},"b":-1}"#] {
            assert_eq!(object(text.as_bytes(), 4).map(Value::Object), serde_json::from_str(text).ok(), "{text}");
        }
    }

    #[test]
    fn refuses_what_two_parsers_could_read_differently() {
        let cases: [&[u8]; 14] = [
            b"",
            b"null",
            b"[]",
            b"\"x\"",
            b"{}{}",
            b"{} x",
            b"{\"a\":1,\"a\":1}",
            b"{\"a\":1,\"\\u0061\":2}",
            b"{\"b\":{\"a\":1,\"a\":2}}",
            b"{\"b\":[{\"a\":1,\"a\":2}]}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":1,}",
            b"{'a':1}",
        ];
        for case in cases {
            assert_eq!(object(case, 4), None, "{}", String::from_utf8_lossy(case));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(object(br#"{"a":[{}]}"#, 3).is_some());
        assert!(object(br#"{"a":[[{}]]}"#, 3).is_none());
        assert!(object("{\"a\":".repeat(4000).as_bytes(), 10).is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            object(&bytes, 4);
        }
    }
}
