//! `check-config`: what `serve` would say to a file, without serving. Looks at no environment, so
//! that the answer is the file's own.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, Environment, Flags};
use crate::domain::ids::RealmName;

use super::Streams;
use super::explain::explain;
use super::failure::{Exit, Failure};

/// Check configuration and realm files
#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    /// Also say what a caller may do in each realm: client id, SPIFFE id, host name, or NAMESPACE/NAME
    #[arg(long, value_name = "CALLER")]
    explain: Option<String>,
    /// Configuration or realm files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl CheckConfig {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let mut exit = Exit::Done;
        for file in self.files {
            let flags = Flags { config: Some(file.clone()), ..Flags::default() };
            match Config::load(flags, &Environment::default()) {
                Ok(config) => {
                    let realms: Vec<_> = config.realm_names().map(RealmName::as_str).collect();
                    writeln!(streams.out, "{}: ok (realms: {})", file.display(), realms.join(", "))?;
                    if let Some(caller) = &self.explain {
                        explain(streams.out, &config, caller)?;
                    }
                }
                Err(error) => exit = Failure::from(error).report(streams),
            }
        }
        Ok(exit)
    }
}
