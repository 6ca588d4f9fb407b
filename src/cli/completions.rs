//! `completions`: a script for a shell.

use clap::Args;
use clap_complete::Shell;

use super::Streams;
use super::failure::{Exit, Failure};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For example: token-authority completions bash > /etc/bash_completion.d/token-authority
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "token-authority", &mut script);
        streams.out.write_all(&script)?;
        Ok(Exit::Done)
    }
}
