//! Arguments that clap refuses: its own several lines for people; for programs, which said `-o json`, the
//! same one line and one object as any other failure.

use std::{
    ffi::{OsStr, OsString},
    io,
    process::ExitCode,
};

use clap::error::ErrorKind;

use super::{Failure, args::OutputForm, fail};

/// Says what is wrong with the arguments, or shows the help that was asked for.
pub(super) fn refuse(error: &clap::Error, args: &[OsString]) -> ExitCode {
    if error.use_stderr() && wants_json(args) {
        return fail(Failure::Usage(one_line(error)), OutputForm::Json, &mut io::stdout().lock());
    }
    // What cannot be printed has nobody left to be told.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Whether `-o json` is among the arguments, which could not be read as a whole.
fn wants_json(args: &[OsString]) -> bool {
    let options: Vec<_> = args.iter().take_while(|arg| *arg != "--").map(OsString::as_os_str).collect();
    let joined = |arg: &OsStr| arg == "--output=json" || arg == "-ojson" || arg == "-o=json";
    let apart = |pair: &[&OsStr]| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json";
    options.iter().any(|arg| joined(arg)) || options.windows(2).any(apart)
}

/// What clap says, without usage and the way to the help.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command is given".to_owned();
    }
    let text = error.render().to_string();
    let said = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = said.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more "));
    let mut whole = String::new();
    for line in said.map(|line| line.strip_prefix("error: ").unwrap_or(line)) {
        let gap = if whole.is_empty() {
            ""
        } else if line.starts_with("tip:") {
            "; "
        } else {
            " "
        };
        whole.push_str(gap);
        whole.push_str(line);
    }
    whole
}

#[cfg(test)]
mod tests;
