//! Generates `Debug` for messages with `debug_redact` fields, so that no log line, panic or test
//! failure prints a token or personal data. Which fields these are stands in the `.proto` files.

use std::fmt::Write;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::rust_names;

/// Full names, with the leading dot, of the messages that must not derive `Debug`.
pub(crate) fn redacted_messages(pool: &DescriptorPool, package: &str) -> Vec<String> {
    rust_names::messages(pool, package)
        .filter(|message| message.fields().any(|field| is_redacted(&field)))
        .map(|message| format!(".{}", message.full_name()))
        .collect()
}

/// The source of one `Debug` for each of them.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let mut source = String::new();
    for message in rust_names::messages(pool, package) {
        if message.fields().any(|field| is_redacted(&field)) {
            source.push_str(&debug_of(&message)?);
        }
    }
    Ok(source)
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    let options = field.options();
    options.get_field_by_name("debug_redact").is_some_and(|value| *value == Value::Bool(true))
}

fn debug_of(message: &MessageDescriptor) -> Result<String, String> {
    if message.oneofs().next().is_some() {
        return Err(format!("{}: debug_redact beside a oneof", message.full_name()));
    }
    let mut fields = String::new();
    for field in message.fields() {
        let name = field.name();
        let value = if is_redacted(&field) {
            "&format_args!(\"[redacted]\")".to_owned()
        } else if is_single_enum(&field) {
            format!("&self.{name}()")
        } else {
            format!("&self.{name}")
        };
        write!(fields, ".field({name:?}, {value})").map_err(|error| error.to_string())?;
    }
    Ok(format!(
        "impl ::core::fmt::Debug for {} {{\n    \
             fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        \
                 f.debug_struct({:?}){fields}.finish()\n    }}\n}}\n",
        rust_names::message_type(message),
        message.name(),
    ))
}

/// prost stores these as numbers and gives a method of the same name that names them.
fn is_single_enum(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Enum(_)) && field.cardinality() != Cardinality::Repeated
}
