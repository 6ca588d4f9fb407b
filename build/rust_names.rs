//! Names that prost gives to what a descriptor describes, for generated code that reads its structs.
//! Knows only the cases of this API: top-level messages, snake_case fields, no Rust keywords.

use prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor};

/// The messages of a package, in the order of its files.
pub(crate) fn messages<'a>(pool: &'a DescriptorPool, package: &'a str) -> impl Iterator<Item = MessageDescriptor> + 'a {
    pool.all_messages().filter(move |message| message.package_name() == package)
}

/// Path of a message's struct, as seen from the modules that include generated code.
pub(crate) fn message_type(message: &MessageDescriptor) -> String {
    format!("v1::{}", message.name())
}

/// Path of the variant that holds a oneof's member, or nothing for any other field.
pub(crate) fn oneof_variant(field: &FieldDescriptor) -> Option<String> {
    let oneof = field.containing_oneof()?;
    Some(format!("v1::{}::{}::{}", snake(field.parent_message().name()), camel(oneof.name()), camel(field.name()),))
}

fn camel(snake: &str) -> String {
    snake
        .split('_')
        .flat_map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            [first.to_ascii_uppercase(), rest.to_owned()]
        })
        .collect()
}

fn snake(camel: &str) -> String {
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
