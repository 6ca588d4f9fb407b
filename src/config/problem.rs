//! What is wrong with a configuration, and where. Knows how to say it, not what is allowed.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A key of a file.
    File {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key with its table, such as `server.grpc`; empty for the file as a whole.
        key: String,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag, with its dashes.
    Flag(&'static str),
}

impl Origin {
    /// Orders what is wrong as somebody reads the files, and the rest after them.
    pub(super) fn place(&self) -> (bool, Option<(&Path, usize)>) {
        match self {
            Self::File { file, line, .. } => (false, Some((file, *line))),
            Self::Default | Self::Environment(_) | Self::Flag(_) => (true, None),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line: 0, .. } => write!(f, "{}", file.display()),
            Self::File { file, line, key } if key.is_empty() => write!(f, "{}:{line}", file.display()),
            Self::File { file, line, key } => write!(f, "{}:{line}: {key}", file.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and what is allowed. Never the value of a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Everything that is wrong with a configuration: one line each, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Says that a name is unknown, with the nearest known one or, if none is near, all of them.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    const NEAR: f64 = 0.75;
    let near = |known: &&str| strsim::jaro_winkler(name, known);
    match known.iter().max_by(|a, b| near(a).total_cmp(&near(b))) {
        Some(nearest) if near(nearest) >= NEAR => format!("unknown {what} {name:?}: did you mean {nearest:?}?"),
        _ => format!("unknown {what} {name:?}: known are {}", known.join(", ")),
    }
}
