//! Each method of the API with one text wherever its request has room for any, by the descriptor: whatever
//! call or field is added is tried too.

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use token_authority::proto::FILE_DESCRIPTOR_SET;
use tonic::Status;
use tonic::transport::Channel;

use crate::raw_call::send;

/// What is no secret: names of what a caller asks for, which a refusal says back to him and the audit trail tells,
/// and what he writes for that trail.
const SAID: [&str; 5] = ["realm", "scope", "audience", "client_id", "reason"];

/// The refusals, each with the method that it is of.
pub(super) async fn refusals(channel: &Channel, text: &str) -> Vec<(String, Status)> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("a descriptor");
    let mut refusals = Vec::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let name = format!("{}/{}", method.parent_service().full_name(), method.name());
        let request = filled(&method.input(), text).encode_to_vec();
        let answer = send(channel.clone(), &name, None, &request).await.expect("an answer");
        refusals.extend(Status::from_header_map(answer.headers()).map(|status| (name, status)));
    }
    refusals
}

fn filled(message: &MessageDescriptor, text: &str) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields().filter(|field| !SAID.contains(&field.name())) {
        if let Some(value) = value(&field, text) {
            filled.set_field(&field, value);
        }
    }
    filled
}

fn value(field: &FieldDescriptor, text: &str) -> Option<Value> {
    if field.is_map() {
        return None;
    }
    let one = match field.kind() {
        Kind::String => Value::String(text.to_owned()),
        Kind::Bytes => Value::Bytes(text.as_bytes().to_vec().into()),
        Kind::Message(message) if message.full_name() == "google.protobuf.Struct" => {
            let value = prost_types::value::Kind::StringValue(text.to_owned());
            let fields = [(text.to_owned(), prost_types::Value { kind: Some(value) })].into();
            let bytes = prost_types::Struct { fields }.encode_to_vec();
            Value::Message(DynamicMessage::decode(message, &*bytes).expect("a struct"))
        }
        Kind::Message(message) => Value::Message(filled(&message, text)),
        _ => return None,
    };
    Some(if field.is_list() { Value::List(vec![one]) } else { one })
}
