//! The table `[realm.messages]`: what a realm tells callers instead of reasons.

use crate::domain::ids::Message;
use crate::domain::messages::Messages;

use super::document::{Raw, Table};
use super::problem::Problem;
use super::reader::Reader;
use super::realm::parsed;
use super::value;

/// The table in a realm's.
pub(super) const NAME: &str = "messages";

/// Each key of it.
pub(super) const KEYS: [&str; 3] = ["access_invalid", "revoked", "refresh_invalid"];

/// Reads the table.
pub(super) fn read(table: Table, problems: &mut Vec<Problem>) -> Messages {
    let mut reader = Reader::new(table, &KEYS, problems);
    let mut messages = Messages::default();
    reader.set(&mut messages.access_invalid, "access_invalid", message);
    let revoked = reader.set(&mut messages.revoked, "revoked", message);
    reader.set(&mut messages.refresh_invalid, "refresh_invalid", message);
    if let Some(at) = revoked.filter(|_| messages.access_invalid.is_none()) {
        reader.wrong(at, "access_invalid is missing: it is told of every other token".to_owned());
    }
    reader.finish();
    messages
}

fn message(raw: &Raw) -> Result<Option<Message>, String> {
    parsed(Message::parse(value::text(raw).unwrap_or_default())).map(Some)
}
