//! Generates `impl Addressed` for the request message of each call: which call it is, in which realm, and
//! whom it is about. Decides nothing about who may call: that is `src/authority/authorization.rs`.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};

use crate::rust_names;

/// The source of all implementations; refuses a request without a realm, and one that two calls share.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let mut seen = BTreeSet::new();
    let services = pool.services().filter(|service| service.package_name() == package);
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.map(|method| implementation(&method, &mut seen)).collect()
}

fn implementation(method: &MethodDescriptor, seen: &mut BTreeSet<String>) -> Result<String, String> {
    let request = method.input();
    if !seen.insert(request.full_name().to_owned()) {
        return Err(format!("{}: two calls share it, so nobody could tell which was admitted", request.full_name()));
    }
    if !has_text(&request, "realm") {
        return Err(format!("{}: names no realm, so nobody knows who may call it", request.full_name()));
    }
    let named = |field| if has_text(&request, field) { format!("Some(&self.{field})") } else { "None".to_owned() };
    Ok(format!(
        "impl Addressed for {} {{\n    \
             const CALL: &'static str = \"/{}/{}\";\n    \
             fn asked(&self) -> Asked<'_> {{\n        \
                 Asked {{ call: Self::CALL, realm: &self.realm, subject: {}, session: {} }}\n    }}\n}}\n",
        rust_names::message_type(&request),
        method.parent_service().full_name(),
        method.name(),
        named("subject"),
        named("session_id"),
    ))
}

fn has_text(message: &MessageDescriptor, field: &str) -> bool {
    message.get_field_by_name(field).is_some_and(|field| field.kind() == Kind::String && !field.is_list())
}
