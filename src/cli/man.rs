//! `man`: the manual, made from the same words as `--help`.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::Streams;
use super::failure::{Exit, Failure};

/// Print the manual page, or write one page a command
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write the pages of all commands into this directory instead
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        match &self.directory {
            Some(directory) => {
                fs::create_dir_all(directory)?;
                clap_mangen::generate_to(super::command(), directory)?;
            }
            None => clap_mangen::Man::new(super::command()).render(&mut streams.out)?,
        }
        Ok(Exit::Done)
    }
}
