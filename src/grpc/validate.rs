//! Checks a request against the rules in its `.proto` file before any use case sees it. Knows the
//! form of values only; what they mean is the domain's. Never repeats a value: it may be a secret.

use std::fmt;

use crate::proto::v1;

// One `impl Validate` for each request message and what it carries.
include!(concat!(env!("OUT_DIR"), "/validate.rs"));

/// A message whose rules were read at build time.
pub(crate) trait Validate {
    /// Adds what breaks a rule to `out`; `at` leads from the request to this message. A message
    /// that keeps its rules costs no allocation.
    fn violations(&self, at: &FieldPath<'_>, out: &mut Violations);
}

/// Checks a request with all that it carries.
pub(crate) fn check(request: &impl Validate) -> Result<(), Vec<Violation>> {
    let mut out = Violations::default();
    request.violations(&FieldPath::Request, &mut out);
    if out.0.is_empty() { Ok(()) } else { Err(out.0) }
}

/// One broken rule, as a `google.rpc.BadRequest.FieldViolation` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Path in proto names, such as `device.device_id` or `audience[3]`.
    pub(crate) field: String,
    /// What is allowed, and how far off the value is.
    pub(crate) description: String,
}

/// Broken rules, in the order of the fields.
#[derive(Debug, Default)]
pub(crate) struct Violations(Vec<Violation>);

impl Violations {
    /// They travel in trailers, which peers bound to a few KiB: a batch of a thousand wrong items
    /// must not turn into an unreadable answer.
    const MOST_REPORTED: usize = 16;

    fn add(&mut self, at: &FieldPath<'_>, description: fmt::Arguments<'_>) {
        if self.0.len() < Self::MOST_REPORTED {
            self.0.push(Violation { field: at.to_string(), description: description.to_string() });
        }
    }
}

/// Where a value stands in its request. Made of frames on the stack, so that it costs nothing
/// unless a violation writes it out.
#[derive(Debug)]
pub(crate) enum FieldPath<'a> {
    /// The request itself.
    Request,
    /// A field of a message.
    Field(&'a FieldPath<'a>, &'static str),
    /// An item of a list.
    Item(&'a FieldPath<'a>, usize),
}

impl FieldPath<'_> {
    fn field(&self, name: &'static str) -> FieldPath<'_> {
        FieldPath::Field(self, name)
    }

    fn item(&self, index: usize) -> FieldPath<'_> {
        FieldPath::Item(self, index)
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldPath::Request => Ok(()),
            FieldPath::Field(FieldPath::Request, name) => f.write_str(name),
            FieldPath::Field(parent, name) => write!(f, "{parent}.{name}"),
            FieldPath::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn required(is_set: bool, at: &FieldPath<'_>, out: &mut Violations) {
    if !is_set {
        out.add(at, format_args!("must be set"));
    }
}

fn min_len(value: &str, limit: usize, at: &FieldPath<'_>, out: &mut Violations) {
    // No character has more than four bytes: most values need no counting.
    if value.len() / 4 < limit {
        let given = value.chars().count();
        if given < limit {
            out.add(at, format_args!("must have {limit} or more characters, has {given}"));
        }
    }
}

fn max_len(value: &str, limit: usize, at: &FieldPath<'_>, out: &mut Violations) {
    // No more characters than bytes: most values need no counting.
    if value.len() > limit {
        let given = value.chars().count();
        if given > limit {
            out.add(at, format_args!("must have at most {limit} characters, has {given}"));
        }
    }
}

fn max_bytes(value: &str, limit: usize, at: &FieldPath<'_>, out: &mut Violations) {
    let given = value.len();
    if given > limit {
        out.add(at, format_args!("must have at most {limit} bytes, has {given}"));
    }
}

fn one_of(value: &str, allowed: &[&str], at: &FieldPath<'_>, out: &mut Violations) {
    if !allowed.contains(&value) {
        let given = value.len();
        out.add(at, format_args!("must be one of {allowed:?}, is another value of {given} bytes"));
    }
}

fn at_least(value: i32, limit: i32, at: &FieldPath<'_>, out: &mut Violations) {
    if value < limit {
        out.add(at, format_args!("must be at least {limit}, is below"));
    }
}

fn at_most(value: i32, limit: i32, at: &FieldPath<'_>, out: &mut Violations) {
    if value > limit {
        out.add(at, format_args!("must be at most {limit}, is above"));
    }
}

fn defined(is_defined: bool, at: &FieldPath<'_>, out: &mut Violations) {
    if !is_defined {
        out.add(at, format_args!("must be a value that the enum defines"));
    }
}

fn min_items(given: usize, limit: usize, at: &FieldPath<'_>, out: &mut Violations) {
    if given < limit {
        out.add(at, format_args!("must have {limit} or more items, has {given}"));
    }
}

fn max_items(given: usize, limit: usize, at: &FieldPath<'_>, out: &mut Violations) {
    if given > limit {
        out.add(at, format_args!("must have at most {limit} items, has {given}"));
    }
}

// The reader of rules is part of the build program; it is tested here because a build program has
// no tests of its own.
#[cfg(test)]
#[path = "../../build/rules.rs"]
mod rules;

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
