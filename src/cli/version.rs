//! `version`.

use clap::Args;

use super::Streams;
use super::failure::{Exit, Failure};

/// Print the version
#[derive(Debug, Args)]
pub(super) struct Version {}

impl Version {
    #[allow(clippy::unused_self, reason = "each command runs the same way")]
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        writeln!(streams.out, "token-authority {}", env!("CARGO_PKG_VERSION"))?;
        Ok(Exit::Done)
    }
}
