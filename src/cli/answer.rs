//! How an answer is printed: JSON by the descriptors for programs, aligned lines for people. Knows
//! messages by their descriptors only.

use std::io::{self, Write};
use std::time::SystemTime;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::proto::FILE_DESCRIPTOR_SET;

use super::failure::Failure;

/// Prints a message of our package in the JSON mapping of Protocol Buffers, fields at their defaults
/// included.
pub(super) fn json(out: &mut dyn Write, name: &str, message: &impl Message) -> Result<(), Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::refused(format_args!("the answer can't be shown: {error}"));
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|error| broken(&error))?;
    let descriptor = pool.get_message_by_name(&format!("token_authority.v1.{name}"));
    let descriptor = descriptor.ok_or_else(|| broken(&format_args!("no message {name}")))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(|e| broken(&e))?;
    let mut line = serde_json::Serializer::new(Vec::new());
    dynamic
        .serialize_with_options(&mut line, &SerializeOptions::new().skip_default_fields(false))
        .map_err(|error| broken(&error))?;
    let mut line = line.into_inner();
    line.push(b'\n');
    Ok(out.write_all(&line)?)
}

/// `key: value` lines, the values in one column.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<(&'static str, String)>);

impl Lines {
    /// Adds a line, unless the text is empty.
    pub(super) fn text(mut self, key: &'static str, text: &str) -> Self {
        if !text.is_empty() {
            self.0.push((key, printable(text)));
        }
        self
    }

    /// Adds a list on a line, unless it is empty.
    pub(super) fn list(self, key: &'static str, items: &[String]) -> Self {
        self.text(key, &items.join(" "))
    }

    /// Adds a time (RFC 3339, in UTC), unless it is not set.
    pub(super) fn time(self, key: &'static str, time: Option<prost_types::Timestamp>) -> Self {
        let time = time.and_then(|time| SystemTime::try_from(time).ok());
        self.text(key, &time.map(|time| humantime::format_rfc3339_seconds(time).to_string()).unwrap_or_default())
    }

    /// Writes the lines.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = self.0.iter().map(|(key, _)| key.len()).max().unwrap_or(0) + 1;
        self.0.iter().try_for_each(|(key, value)| writeln!(out, "{:<width$} {value}", format!("{key}:")))
    }
}

/// The text without control characters: what clients sent must not steer the reader's terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

    #[test]
    fn json_shows_defaults_and_names_fields_as_the_mapping_says() {
        let mut out = Vec::new();
        json(&mut out, "IntrospectTokenResponse", &v1::IntrospectTokenResponse::default()).expect("prints");
        let answer: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(answer["active"], false);
        assert_eq!((&answer["tokenKind"], &answer["clientId"]), (&"TOKEN_KIND_UNSPECIFIED".into(), &"".into()));
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn lines_are_aligned_and_steer_no_terminal() {
        let mut out = Vec::new();
        let time = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 };
        let lines = Lines::default().text("name", "a\u{1b}[2Jb").text("none", "").time("expire_time", Some(time));
        lines.time("unset", None).write(&mut out).expect("writes");
        let expected = "name:        a\\u{1b}[2Jb\nexpire_time: 2023-11-14T22:13:20Z\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
