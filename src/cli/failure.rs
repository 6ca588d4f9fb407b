//! How a command ends other than well: the exit code and the words for it. Never repeats a token.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::config::ConfigError;

use super::Streams;
use super::answer::printable;

/// Exit codes, the same for each command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0
    Done,
    /// 1: the answer is no.
    Refused,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: there was no answer.
    Unreachable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
        })
    }
}

/// Why a command stopped.
#[derive(Debug)]
pub(super) enum Failure {
    /// In our words, one line or more.
    Said(Exit, String),
    /// In clap's, help and version among them.
    Usage(clap::Error),
    /// What was to be written couldn't be.
    Output(io::Error),
}

impl Failure {
    /// The answer is no.
    pub(super) fn refused(message: impl fmt::Display) -> Self {
        Self::Said(Exit::Refused, message.to_string())
    }

    /// There was no answer.
    pub(super) fn unreachable(message: impl fmt::Display) -> Self {
        Self::Said(Exit::Unreachable, message.to_string())
    }

    /// A call's end without an answer, or with a refusal.
    pub(super) fn of_call(status: &Status, endpoint: impl fmt::Display) -> Self {
        // Made on this side: a server's own status has no source.
        if let Some(source) = status.source() {
            return Self::unreachable(format_args!("{endpoint} can't be reached: {}", chain(source)));
        }
        match status.code() {
            // tonic's own word for a deadline that passed on this side.
            Code::Cancelled if status.message() == "Timeout expired" => {
                Self::unreachable(format_args!("{endpoint} did not answer in time"))
            }
            Code::Unavailable | Code::DeadlineExceeded => Self::Said(Exit::Unreachable, told(status)),
            _ => Self::Said(Exit::Refused, told(status)),
        }
    }

    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Said(exit, _) => *exit,
            Self::Usage(error) if error.use_stderr() => Exit::Usage,
            Self::Usage(_) => Exit::Done,
            Self::Output(_) => Exit::Refused,
        }
    }

    /// Writes the words to where they belong; returns the exit code.
    pub(super) fn report(&self, streams: &mut Streams<'_>) -> Exit {
        let stream = if self.exit() == Exit::Done { &mut *streams.out } else { &mut *streams.err };
        match self {
            // Who reads no further, as `head` does, wants no complaint.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            // Nobody is left to tell if this fails too.
            _ => drop(write!(stream, "{self}").and_then(|()| stream.flush())),
        }
        self.exit()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(_, message) => writeln!(f, "error: {message}"),
            Self::Usage(error) => error.fmt(f),
            Self::Output(error) => writeln!(f, "error: can't write: {error}"),
        }
    }
}

impl From<clap::Error> for Failure {
    /// A URL that is refused is not repeated: a password may stand in it.
    fn from(mut error: clap::Error) -> Self {
        let value = error.get(ContextKind::InvalidValue).map(ToString::to_string);
        if value.is_some_and(|value| value.contains("://")) {
            error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
        }
        Self::Usage(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let lines: Vec<_> = error.0.iter().map(ToString::to_string).collect();
        Self::refused(lines.join("\nerror: "))
    }
}

/// `<message> (REASON)`, and a line for each field that is wrong.
fn told(status: &Status) -> String {
    let code = format!("{:?}", status.code());
    let message = if status.message().is_empty() { &code } else { status.message() };
    let mut text = printable(message);
    match status.get_details_error_info() {
        Some(info) => drop(write!(text, " ({})", printable(&info.reason))),
        None => drop(write!(text, " ({code})")),
    }
    for violation in status.get_details_bad_request().into_iter().flat_map(|bad| bad.field_violations) {
        let (field, description) = (printable(&violation.field), printable(&violation.description));
        let _ = write!(text, "\n  {field}: {description}");
    }
    if let Some(delay) = status.get_details_retry_info().and_then(|retry| retry.retry_delay) {
        let _ = write!(text, "\n  retry in {}", humantime::format_duration(delay));
    }
    text
}

/// An error with what caused it: the last of them says most.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        if parts.last() != Some(&part) {
            parts.push(part);
        }
        source = error.source();
    }
    parts.join(": ")
}
