//! What the driver's errors mean to a caller of the store: whether a commit can have been written.
//! Knows the words of Redis and of the driver; no command.

use fred::error::{Error, ErrorKind};

use crate::authority::ports::StoreError;

/// Answers of a server that did not begin with the command, by their first word.
const REFUSALS: &[&str] = &[
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "NOSCRIPT",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
    "WRONGPASS",
];
/// What the driver says of a command that it had no connection for.
const NOT_ROUTED: &str = "Failed to route command";
/// What the driver says of a command that a node of a Cluster sent elsewhere, or not yet.
const REDIRECTED: &[&str] = &["Too many redirections", "TRYAGAIN"];

/// For reads, which may be repeated as one likes.
pub(super) fn of_read(error: &Error) -> StoreError {
    if error.details().starts_with("CORRUPT") || error.details().starts_with("WRONGTYPE") {
        return StoreError::Corrupt(error.details().into());
    }
    StoreError::Unavailable(text(error))
}

/// For commits. Whatever is not known to have been refused may have been written.
pub(super) fn of_commit(error: &Error) -> StoreError {
    let details = error.details();
    if details.contains("OOM command not allowed") {
        return StoreError::Full("Redis has reached its maxmemory".into());
    }
    if details.starts_with("CORRUPT") || details.starts_with("WRONGTYPE") {
        return StoreError::Corrupt(details.into());
    }
    let first = details.split_whitespace().next().unwrap_or_default();
    let refused = REFUSALS.contains(&first)
        // A script that was refused at its first write says so after its own name.
        || ["MISCONF", "READONLY", "NOREPLICAS"].iter().any(|word| details.contains(word))
        || details.starts_with(NOT_ROUTED)
        || was_redirected(error)
        || matches!(error.kind(), ErrorKind::Backpressure | ErrorKind::Auth | ErrorKind::Config | ErrorKind::Routing);
    if refused { StoreError::Unavailable(text(error)) } else { StoreError::OutcomeUnknown(text(error)) }
}

/// Whether a node of a Cluster refused the command, since another one has its slot by now.
pub(super) fn was_redirected(error: &Error) -> bool {
    REDIRECTED.iter().any(|words| error.details().starts_with(words))
}

fn text(error: &Error) -> std::sync::Arc<str> {
    error.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_surely_refused_is_called_not_written() {
        let cases = [
            (ErrorKind::Timeout, "Request timed out.", "unknown"),
            (ErrorKind::IO, "Connection reset by peer", "unknown"),
            (ErrorKind::Canceled, "Canceled.", "unknown"),
            (ErrorKind::Unknown, "ERR user_script:1: something", "unknown"),
            (ErrorKind::Unknown, "Too many failed write attempts.", "unknown"),
            (ErrorKind::Unknown, "LOADING Redis is loading the dataset in memory", "unavailable"),
            (ErrorKind::Unknown, "READONLY You can't write against a read only replica.", "unavailable"),
            (ErrorKind::Unknown, "Failed to route command.", "unavailable"),
            (ErrorKind::Backpressure, "Queue full", "unavailable"),
            (ErrorKind::Routing, "Too many redirections.", "unavailable"),
            (ErrorKind::Unknown, "TRYAGAIN Multiple keys request during rehashing of slot", "unavailable"),
            (ErrorKind::Unknown, "OOM command not allowed when used memory > 'maxmemory'.", "full"),
            (ErrorKind::Unknown, "ERR Error running script: -OOM command not allowed when used", "full"),
            (ErrorKind::Unknown, "CORRUPT a record is shorter than its head", "corrupt"),
            // As 6.2 words them.
            (ErrorKind::Unknown, "@user_script: 34: -OOM command not allowed when used memory > 'maxmemory'.", "full"),
            (ErrorKind::Unknown, "@user_script: 34: -MISCONF Redis is configured to save RDB snapshots", "unavailable"),
            (ErrorKind::Unknown, "@user_script: 34: -NOREPLICAS Not enough good replicas to write.", "unavailable"),
            (ErrorKind::Unknown, "ERR The user executing the script can't run this command or subcommand", "unknown"),
        ];
        for (kind, details, expected) in cases {
            let meaning = match of_commit(&Error::new(kind, details)) {
                StoreError::OutcomeUnknown(_) => "unknown",
                StoreError::Unavailable(_) => "unavailable",
                StoreError::Full(_) => "full",
                StoreError::Corrupt(_) => "corrupt",
            };
            assert_eq!(meaning, expected, "{details}");
        }
    }
}
