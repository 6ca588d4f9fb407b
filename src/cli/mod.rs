//! The command line: what it offers, and how a command's end becomes an exit code. Each command has
//! a file of its own; none of them reads the environment or prints past the given streams.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod answer;
mod check_config;
mod client;
mod client_secret;
mod completions;
mod demo;
mod dev_certs;
mod explain;
mod failure;
mod healthcheck;
mod keys;
mod man;
mod serve;
mod session;
mod store;
mod store_flags;
mod token;
mod version;

use crate::telemetry::panics;

use client::ClientFlags;
use failure::{Exit, Failure};

/// Token Authority: issues, refreshes, introspects and revokes tokens.
#[derive(Debug, Parser)]
#[command(name = "token-authority", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done; 1 refused, not active, or wrongly configured; 2 wrong usage; \
                        3 server not reachable or too slow.")]
struct Cli {
    #[command(flatten)]
    client: ClientFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Demo(demo::Demo),
    DevCerts(dev_certs::DevCerts),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Session(session::Session),
    #[command(subcommand)]
    Keys(keys::Keys),
    #[command(subcommand)]
    Store(store::Store),
    CheckConfig(check_config::CheckConfig),
    ClientSecret(client_secret::ClientSecret),
    Healthcheck(healthcheck::Healthcheck),
    Completions(completions::Completions),
    Man(man::Man),
    Version(version::Version),
}

/// The commands that talk to a server, and so take the client's flags.
const CLIENTS: [&str; 4] = ["token", "session", "keys", "healthcheck"];
/// Those that call no server, but answer programs too, and so take `--json` alone.
const ANSWERING: [&str; 1] = ["store"];

/// The streams of the process, or what stands in for them.
struct Streams<'a> {
    input: &'a mut dyn Read,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

/// Runs one command to its end. `arguments` start with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    panics::tell_without_values();
    // Standard error is not locked: logs go there while a server runs.
    let (mut input, mut out, mut err) = (io::stdin().lock(), io::stdout().lock(), io::stderr());
    let mut streams = Streams { input: &mut input, out: &mut out, err: &mut err };
    let ended = parse(arguments).and_then(|cli| cli.run(&mut streams));
    let exit = ended.and_then(|exit| streams.out.flush().map(|()| exit).map_err(Failure::from));
    match exit {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(&mut streams).into(),
    }
}

/// The command as clap sees it, the client's flags hidden where they mean nothing.
fn command() -> clap::Command {
    let mut command = Cli::command();
    // Copies global flags into the commands, where they can be hidden.
    command.build();
    command.mut_subcommands(|sub| {
        let (client, answering) = (CLIENTS.contains(&sub.get_name()), ANSWERING.contains(&sub.get_name()));
        let meaningless =
            move |arg: &clap::Arg| arg.is_global_set() && !client && !(answering && arg.get_id() == "json");
        let hidden = move |arg: clap::Arg| if meaningless(&arg) { arg.hide(true) } else { arg };
        sub.mut_args(hidden).mut_subcommands(|below| below.mut_args(hidden))
    })
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Failure> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    match matches.subcommand_name() {
        Some(name) if ANSWERING.contains(&name) && cli.client.names_a_server() => {
            let message =
                format!("--endpoint, --realm and certificates are for {}, not for {name}", CLIENTS.join(", "));
            Err(command.error(ErrorKind::ArgumentConflict, message).into())
        }
        Some(name)
            if !CLIENTS.contains(&name)
                && !ANSWERING.contains(&name)
                && (cli.client.names_a_server() || cli.client.json) =>
        {
            let message = format!("client options such as --endpoint are for {}, not for {name}", CLIENTS.join(", "));
            Err(command.error(ErrorKind::ArgumentConflict, message).into())
        }
        _ => Ok(cli),
    }
}

impl Cli {
    fn run(mut self, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        if matches!(self.command, Command::Token(_) | Command::Session(_) | Command::Keys(_)) {
            self.client = self.client.completed(variable, streams.input)?;
        }
        match self.command {
            Command::Serve(serve) => serve.run(streams),
            Command::Demo(demo) => demo.run(streams),
            Command::DevCerts(certs) => certs.run(streams),
            Command::Token(token) => block_on(token.run(&self.client, streams)),
            Command::Session(session) => block_on(session.run(&self.client, streams)),
            Command::Keys(keys) => block_on(keys.run(&self.client, streams)),
            Command::Store(store) => block_on_all_cores(store.run(&self.client, streams)),
            Command::CheckConfig(check) => check.run(streams),
            Command::ClientSecret(secret) => secret.run(streams),
            Command::Healthcheck(check) => block_on(check.run(&self.client, streams)),
            Command::Completions(completions) => completions.run(streams),
            Command::Man(man) => man.run(streams),
            Command::Version(version) => version.run(streams),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the command line's two variables, read where its flags are")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Runs a client command, which makes one call: one thread is enough.
fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Runs a server's work on every core, and at least two threads: one must be free while another is
/// in a long computation, such as making a key.
fn block_on_all_cores<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, Failure> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What an argument may be called. A token may be `-`, a URL stand in a file, and no other is a secret: those
    /// of arguments show in the list of processes.
    const NAMES: [&str; 25] = [
        "ADDR",
        "AUDIENCE",
        "CALLER",
        "COMMAND",
        "DIR",
        "FILE",
        "FORMAT",
        "FROM",
        "ID",
        "KID",
        "LEVEL",
        "N",
        "NAME",
        "NAME=JSON",
        "RATIO",
        "REASON",
        "SCOPE",
        "SESSION_ID",
        "SHELL",
        "STATE",
        "SUBJECT",
        "TO",
        "TOKEN",
        "URI",
        "URL",
    ];

    #[test]
    fn no_argument_is_the_only_way_to_give_a_secret() {
        fn names(command: &clap::Command) -> Vec<String> {
            let valued = command.get_arguments().filter(|argument| argument.get_action().takes_values());
            let own =
                valued.flat_map(|argument| argument.get_value_names().unwrap_or_default()).map(ToString::to_string);
            own.chain(command.get_subcommands().flat_map(names)).collect()
        }
        let names = names(&command());
        let unknown: Vec<_> = names.iter().filter(|name| !NAMES.contains(&name.as_str())).collect();
        assert!(names.len() > 100 && unknown.is_empty(), "of {}: {unknown:?}: are they secrets?", names.len());
    }

    #[test]
    fn client_flags_stand_before_or_after_the_command() {
        for line in [
            "token-authority --json --realm r --endpoint h:1 token issue --subject s",
            "token-authority token --json --realm r --endpoint http://h:1 issue --subject s",
            "token-authority token issue --subject s --json --realm r --endpoint http://h:1/",
        ] {
            let cli = parsed(line).unwrap_or_else(|failure| panic!("{line}: {failure:?}"));
            assert_eq!((cli.client.json, cli.client.realm.as_deref()), (true, Some("r")), "{line}");
            assert_eq!(cli.client.endpoint().to_string(), "http://h:1/", "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage() {
        for line in [
            "token-authority",
            "token-authority token",
            "token-authority tokens",
            "token-authority token issue",
            "token-authority token issue --subject s --claim role",
            "token-authority token issue --subject s --claim role=admin",
            "token-authority token issue --subject s --remember-me --without-session",
            "token-authority token introspect",
            "token-authority token introspect t --endpoint ftp://h:1",
            "token-authority token introspect t --endpoint http://user:secret@h:1",
            "token-authority serve --ca ca.pem",
            "token-authority dev-certs",
            "token-authority dev-certs d --spiffe-id https://h/",
            "token-authority token introspect t --endpoint :",
            "token-authority keys",
            "token-authority keys list --state gone",
            "token-authority keys prepare --algorithm none",
            "token-authority keys activate a b",
            "token-authority keys retire",
            "token-authority keys revoke",
            "token-authority serve --grpc localhost",
            "token-authority serve --store data",
            "token-authority serve --log-format yaml",
            "token-authority serve --realm r",
            "token-authority demo --json",
            "token-authority check-config",
            "token-authority store copy embedded:a",
            "token-authority store copy embedded:a embedded:b --realm r",
            "token-authority store status --endpoint h:1",
            "token-authority store status --store @/nowhere/url",
        ] {
            let failure = parsed(line).err().unwrap_or_else(|| panic!("{line} is refused"));
            assert_eq!(failure.exit(), Exit::Usage, "{line}");
        }
    }

    #[test]
    fn help_shows_client_flags_to_clients_only() {
        for (line, endpoint, json) in [
            ("token-authority serve --help", false, false),
            ("token-authority store copy --help", false, true),
            ("token-authority token issue --help", true, true),
        ] {
            let failure = parsed(line).expect_err("help ends the command");
            assert_eq!(failure.exit(), Exit::Done);
            let text = failure.to_string();
            assert_eq!((text.contains("--endpoint"), text.contains("--json")), (endpoint, json), "{failure}");
        }
    }
}
