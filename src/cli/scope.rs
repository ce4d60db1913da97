//! Which client options belong to which command.
//!
//! They are global to clap, so that they may stand before or behind the command. Where one means nothing it
//! is hidden from the help, and refused if it is typed: an option without effect would be a promise not
//! kept. The variable `QUORATE_ENDPOINTS` is no typed option, and does no harm.

use std::ffi::OsString;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, error::ErrorKind, parser::ValueSource};

use super::Cli;

/// All options of client commands, by the ids that clap knows them by.
const CLIENT: [&str; 9] = [
    "endpoints",
    "consistency",
    "max_age",
    "min_revision",
    "route",
    "timeout",
    "output",
    "evidence",
    "request_id",
];
/// Those that say how to read.
const READ: [&str; 4] = ["consistency", "max_age", "min_revision", "route"];

/// A watch, or a lock that is held, is not one answer: nothing is read at a level, and there is no
/// request that logs could name.
const NOT_WATCH: [&str; 6] = ["consistency", "max_age", "min_revision", "route", "evidence", "request_id"];

/// A check asks nobody.
const NOT_CHECK: [&str; 8] =
    ["endpoints", "consistency", "max_age", "min_revision", "route", "timeout", "evidence", "request_id"];

/// A torture has clients of its own.
const NOT_TORTURE: [&str; 7] =
    ["consistency", "max_age", "min_revision", "route", "timeout", "evidence", "request_id"];

/// A measurement names no request in logs, and shows no answers.
const NOT_BENCH: [&str; 2] = ["evidence", "request_id"];

/// The options that mean nothing to a command.
fn foreign(command: &str) -> &'static [&'static str] {
    match command {
        "serve" | "completion" => &CLIENT,
        "check" => &NOT_CHECK,
        "torture" => &NOT_TORTURE,
        "bench" => &NOT_BENCH,
        "get" | "scan" => &[],
        "watch" | "lock" | "elect" => &NOT_WATCH,
        _ => &READ,
    }
}

/// The command line as clap knows it, with each command's foreign options hidden.
pub(super) fn definition() -> Command {
    let mut command = Cli::command();
    let globals: Vec<_> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let hidden = globals.iter().filter(|arg| foreign(&name).contains(&arg.get_id().as_str()));
        // An option of the same id takes the place of the global one.
        let hidden: Vec<_> = hidden.map(|arg| arg.clone().hide(true)).collect();
        command = command.mut_subcommand(name, |sub| sub.args(hidden));
    }
    command
}

/// Reads the arguments.
///
/// # Errors
/// Clap's: what is wrong, or the help that was asked for.
pub(super) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = definition();
    let mut matches = command.try_get_matches_from_mut(args)?;
    if let Some((name, sub)) = matches.subcommand() {
        refuse_foreign(&mut command, name, sub)?;
    }
    let typed = |sub: &ArgMatches| sub.value_source("endpoints") == Some(ValueSource::CommandLine);
    let endpoints_typed = matches.subcommand().is_some_and(|(_, sub)| typed(sub));
    let mut cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
    cli.global.endpoints_typed = endpoints_typed;
    Ok(cli)
}

fn refuse_foreign(command: &mut Command, name: &str, matches: &ArgMatches) -> Result<(), clap::Error> {
    let typed = |id: &&&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    match foreign(name).iter().find(typed) {
        Some(id) => {
            let why = format!("--{} means nothing to {name}", id.replace('_', "-"));
            Err(command.error(ErrorKind::ArgumentConflict, why))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
