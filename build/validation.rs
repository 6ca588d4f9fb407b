//! Generates `impl Validate` for every request message, and what it carries, from the rules in the
//! `.proto` files. Decides nothing about a value: that is `src/grpc/validate.rs`, which it calls.

use std::collections::BTreeSet;
use std::fmt::Write;

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};

use crate::rules::{self, Rule, UnknownRule};
use crate::rust_names;

const FIELD_RULES: &str = "buf.validate.field";
const ONEOF_RULES: &str = "buf.validate.oneof";
const MESSAGE_RULES: &str = "buf.validate.message";

/// The source of all implementations, or the first rule that would go unchecked.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let checked = with_what_they_carry(requests(pool, package), package);
    let mut source = String::new();
    for message in rust_names::messages(pool, package) {
        refuse_message_rules(pool, &message)?;
        if checked.contains(message.full_name()) {
            source.push_str(&implementation(&message, &checks_of_message(pool, &message)?));
        } else {
            refuse_rules_in(pool, &message)?;
        }
    }
    Ok(source)
}

fn requests(pool: &DescriptorPool, package: &str) -> Vec<MessageDescriptor> {
    pool.services()
        .filter(|service| service.package_name() == package)
        .flat_map(|service| service.methods().map(|method| method.input()).collect::<Vec<_>>())
        .collect()
}

/// Full names of the messages and, transitively, of those of our own in their fields.
fn with_what_they_carry(mut open: Vec<MessageDescriptor>, package: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    while let Some(message) = open.pop() {
        if message.package_name() == package && found.insert(message.full_name().to_owned()) {
            open.extend(message.fields().filter_map(|field| message_in(&field)));
        }
    }
    found
}

fn refuse_message_rules(pool: &DescriptorPool, message: &MessageDescriptor) -> Result<(), String> {
    match rules_in(pool, &message.options(), MESSAGE_RULES)? {
        Some(_) => Err(format!("{}: rules on a message are not known", message.full_name())),
        None => Ok(()),
    }
}

/// For a message that no request carries: nobody would check its rules.
fn refuse_rules_in(pool: &DescriptorPool, message: &MessageDescriptor) -> Result<(), String> {
    for field in message.fields() {
        if rules_in(pool, &field.options(), FIELD_RULES)?.is_some() {
            return Err(format!("{}: has rules, but no request carries it", field.full_name()));
        }
    }
    for oneof in message.oneofs() {
        if rules_in(pool, &oneof.options(), ONEOF_RULES)?.is_some() {
            return Err(format!("{}: has rules, but no request carries it", oneof.full_name()));
        }
    }
    Ok(())
}

fn message_in(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    field.kind().as_message().cloned()
}

fn implementation(message: &MessageDescriptor, body: &str) -> String {
    // A message without rules still gets one: the compiler then shows that none was forgotten.
    let underscore = if body.is_empty() { "_" } else { "" };
    format!(
        "impl Validate for {} {{\n\
         fn violations(&self, {underscore}at: &FieldPath<'_>, {underscore}out: &mut Violations) {{\n\
         {body}}}\n}}\n",
        rust_names::message_type(message),
    )
}

fn checks_of_message(pool: &DescriptorPool, message: &MessageDescriptor) -> Result<String, String> {
    let mut body = String::new();
    for oneof in message.oneofs() {
        body.push_str(&checks_of_oneof(pool, &oneof)?);
    }
    for field in message.fields() {
        body.push_str(&checks_of_field(pool, &field)?);
    }
    Ok(body)
}

fn checks_of_oneof(pool: &DescriptorPool, oneof: &OneofDescriptor) -> Result<String, String> {
    let rules = known_rules(pool, &oneof.options(), ONEOF_RULES, oneof.full_name())?;
    let name = oneof.name();
    let mut checks = String::new();
    for rule in rules {
        if rule != Rule::Required {
            return Err(format!("{}: {rule:?} does not fit a oneof", oneof.full_name()));
        }
        push(&mut checks, format_args!("required(self.{name}.is_some(), &at.field({name:?}), out);"))?;
    }
    Ok(checks)
}

fn checks_of_field(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<String, String> {
    let name = field.name();
    let rules = known_rules(pool, &field.options(), FIELD_RULES, field.full_name())?;
    let (of_presence, of_value): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| *rule == Rule::Required);

    let mut checks = String::new();
    if !of_presence.is_empty() {
        if !is_optional_message(field) {
            return Err(format!("{}: required fits only a single message", field.full_name()));
        }
        push(&mut checks, format_args!("required(self.{name}.is_some(), at, out);"))?;
    }
    let checks_of_value = checks_of_value(field, &of_value)?;
    if !checks_of_value.is_empty() {
        let (head, tail) = with_value(field)?;
        push(&mut checks, format_args!("{head}\n{checks_of_value}{tail}"))?;
    }
    if !checks.is_empty() {
        checks = format!("{{\nlet at = &at.field({name:?});\n{checks}}}\n");
    }
    Ok(checks)
}

/// prost holds it as an `Option` of its own, outside any oneof's enum.
fn is_optional_message(field: &FieldDescriptor) -> bool {
    message_in(field).is_some() && !field.is_list() && field.containing_oneof().is_none()
}

/// What stands around statements over `value`, a reference to what the field holds. A field with
/// presence that is not set skips them.
fn with_value(field: &FieldDescriptor) -> Result<(String, &'static str), String> {
    let name = field.name();
    if let (Some(oneof), Some(variant)) = (field.containing_oneof(), rust_names::oneof_variant(field)) {
        return Ok((format!("if let Some({variant}(value)) = &self.{} {{", oneof.name()), "}"));
    }
    if is_optional_message(field) {
        return Ok((format!("if let Some(value) = &self.{name} {{"), "}"));
    }
    if field.is_map() || field.supports_presence() {
        return Err(format!("{}: rules on maps and optional scalars are not known", field.full_name()));
    }
    Ok((format!("let value = &self.{name};"), ""))
}

/// Statements over `value`.
fn checks_of_value(field: &FieldDescriptor, rules: &[Rule]) -> Result<String, String> {
    let mut of_items = Vec::new();
    let mut checks = String::new();
    for rule in rules {
        match rule {
            Rule::Items(rules) if field.is_list() => of_items.extend(rules.iter()),
            rule => push(&mut checks, format_args!("{}", check(field, rule)?))?,
        }
    }
    let mut inner = String::new();
    for rule in of_items {
        push(&mut inner, format_args!("{}", check(field, rule)?))?;
    }
    if carries_ours(field) {
        inner.push_str("value.violations(at, out);\n");
    }
    if field.is_list() && !inner.is_empty() {
        inner = format!("for (index, value) in value.iter().enumerate() {{\nlet at = &at.item(index);\n{inner}}}\n");
    }
    Ok(checks + &inner)
}

/// Messages from elsewhere, such as timestamps, have no rules of ours.
fn carries_ours(field: &FieldDescriptor) -> bool {
    let package = field.parent_message().package_name().to_owned();
    message_in(field).is_some_and(|inner| inner.package_name() == package)
}

/// The call that checks one rule, if it is one for the kind of the field or its items.
fn check(field: &FieldDescriptor, rule: &Rule) -> Result<String, String> {
    Ok(match (rule, field.kind()) {
        (Rule::MinLen(limit), Kind::String) => format!("min_len(value, {limit}, at, out);"),
        (Rule::MaxLen(limit), Kind::String) => format!("max_len(value, {limit}, at, out);"),
        (Rule::MaxBytes(limit), Kind::String) => format!("max_bytes(value, {limit}, at, out);"),
        (Rule::In(values), Kind::String) => format!("one_of(value, &{values:?}, at, out);"),
        (Rule::Gte(limit), Kind::Int32) => format!("at_least(*value, {limit}, at, out);"),
        (Rule::Lte(limit), Kind::Int32) => format!("at_most(*value, {limit}, at, out);"),
        (Rule::DefinedOnly, Kind::Enum(kind)) => {
            format!("defined(v1::{}::is_valid(*value), at, out);", kind.name())
        }
        (Rule::MinItems(limit), _) if field.is_list() => format!("min_items(value.len(), {limit}, at, out);"),
        (Rule::MaxItems(limit), _) if field.is_list() => format!("max_items(value.len(), {limit}, at, out);"),
        _ => return Err(format!("{}: {rule:?} does not fit the field", field.full_name())),
    })
}

fn known_rules(
    pool: &DescriptorPool,
    options: &DynamicMessage,
    extension: &str,
    place: &str,
) -> Result<Vec<Rule>, String> {
    let Some(rules) = rules_in(pool, options, extension)? else { return Ok(Vec::new()) };
    rules::read(&rules)
        .map_err(|UnknownRule(rule)| format!("{place}: the validator does not know the rule {rule} of {extension}"))
}

fn rules_in(
    pool: &DescriptorPool,
    options: &DynamicMessage,
    extension: &str,
) -> Result<Option<DynamicMessage>, String> {
    let Some(descriptor) = pool.get_extension_by_name(extension) else {
        return Err(format!("no file imports buf/validate/validate.proto, which has {extension}"));
    };
    if !options.has_extension(&descriptor) {
        return Ok(None);
    }
    Ok(options.get_extension(&descriptor).as_message().cloned())
}

fn push(source: &mut String, line: std::fmt::Arguments<'_>) -> Result<(), String> {
    writeln!(source, "{line}").map_err(|error| error.to_string())
}
