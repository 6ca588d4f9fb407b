//! Reads the `buf.validate` options of a field or oneof into the rules that our validator checks,
//! and refuses every other one: a rule that nobody checks is worse than none. Emits no code.

use prost_reflect::{DynamicMessage, ReflectMessage, Value};

/// One rule on one field, its value, or each item of its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A message or a oneof is set.
    Required,
    /// At least so many characters.
    MinLen(u64),
    /// At most so many characters.
    MaxLen(u64),
    /// At most so many bytes of UTF-8.
    MaxBytes(u64),
    /// Exactly one of these strings.
    In(Vec<String>),
    /// Not below.
    Gte(i32),
    /// Not above.
    Lte(i32),
    /// A number that the enum names.
    DefinedOnly,
    /// At least so many items.
    MinItems(u64),
    /// At most so many items.
    MaxItems(u64),
    /// Rules on each item.
    Items(Vec<Rule>),
}

/// The path of a rule that is not in [`Rule`], such as `string.pattern`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownRule(pub(crate) String);

/// Reads a `buf.validate.FieldRules` or `buf.validate.OneofRules`.
pub(crate) fn read(rules: &DynamicMessage) -> Result<Vec<Rule>, UnknownRule> {
    let mut known = Vec::new();
    read_group("", rules, &mut known)?;
    Ok(known)
}

fn read_group(group: &str, rules: &DynamicMessage, known: &mut Vec<Rule>) -> Result<(), UnknownRule> {
    refuse_what_fields_do_not_show(rules)?;
    for (field, value) in rules.fields() {
        match (group, field.name(), value) {
            ("", name @ ("string" | "int32" | "enum" | "repeated"), Value::Message(inner)) => {
                read_group(name, inner, known)?;
            }
            (group, name, value) => {
                let rule = read_rule(group, name, value)?;
                known.push(rule);
            }
        }
    }
    Ok(())
}

fn read_rule(group: &str, name: &str, value: &Value) -> Result<Rule, UnknownRule> {
    Ok(match (group, name, value) {
        ("", "required", Value::Bool(true)) => Rule::Required,
        ("string", "min_len", Value::U64(limit)) => Rule::MinLen(*limit),
        ("string", "max_len", Value::U64(limit)) => Rule::MaxLen(*limit),
        ("string", "max_bytes", Value::U64(limit)) => Rule::MaxBytes(*limit),
        ("string", "in", Value::List(values)) => {
            Rule::In(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        ("int32", "gte", Value::I32(limit)) => Rule::Gte(*limit),
        ("int32", "lte", Value::I32(limit)) => Rule::Lte(*limit),
        ("enum", "defined_only", Value::Bool(true)) => Rule::DefinedOnly,
        ("repeated", "min_items", Value::U64(limit)) => Rule::MinItems(*limit),
        ("repeated", "max_items", Value::U64(limit)) => Rule::MaxItems(*limit),
        ("repeated", "items", Value::Message(items)) => Rule::Items(read(items)?),
        ("", name, _) => return Err(UnknownRule(name.to_owned())),
        (group, name, _) => return Err(UnknownRule(format!("{group}.{name}"))),
    })
}

/// Predefined rules are extensions, and rules newer than the carried file are unknown fields.
fn refuse_what_fields_do_not_show(rules: &DynamicMessage) -> Result<(), UnknownRule> {
    if let Some((extension, _)) = rules.extensions().next() {
        return Err(UnknownRule(extension.full_name().to_owned()));
    }
    if let Some(field) = rules.unknown_fields().next() {
        let group = rules.descriptor().full_name().to_owned();
        return Err(UnknownRule(format!("number {} of {group}", field.number())));
    }
    Ok(())
}
