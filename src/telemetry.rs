//! Where the log lines of the process go: to standard error, for people or as JSON lines.
//!
//! Only the command line sets it up. A program that embeds a node installs a `tracing` subscriber of its own.

use std::{
    env,
    io::{self, IsTerminal},
    str::FromStr,
};

use tracing_subscriber::{EnvFilter, fmt};

/// The variable with the filter, such as `info` or `quorate::raft=debug,warn`.
pub const FILTER_VARIABLE: &str = "QUORATE_LOG";

const FILTER_DEFAULT: &str = "info";

/// What `info` alone means. Of the libraries below only what may need an operator: openraft warns of each
/// message to a member that is away, several times a second. `quorate status` shows that, and the node's own
/// lines tell when the leader changes.
const FILTER_INFO: &str = "info,openraft=error,h2=warn,hyper=warn,tonic=warn,tower=warn,sled=warn";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; with colours on a terminal.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("{other:?} is not a log format: human or json")),
        }
    }
}

/// Sends the process's log lines to standard error. `filter` goes before `QUORATE_LOG`, which goes before
/// `info`, which leaves out what the libraries say about their everyday.
///
/// # Errors
/// One line that quotes a filter which cannot be parsed, or says that logging was set up before.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<(), String> {
    let variable = env::var(FILTER_VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = parse_filter(filter.or(variable.as_deref()).unwrap_or(FILTER_DEFAULT))?;
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match format {
        LogFormat::Human => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| format!("cannot set up logging: {error}"))
}

fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    let filter = if text == FILTER_DEFAULT { FILTER_INFO } else { text };
    EnvFilter::try_new(filter).map_err(|error| format!("{text:?} is not a log filter: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_filters_are_parsed_or_quoted() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("human".parse(), Ok(LogFormat::Human));
        assert!("xml".parse::<LogFormat>().is_err_and(|error| error.contains("\"xml\"")));
        assert!(parse_filter("quorate::raft=debug,warn").is_ok());
        let quiet = parse_filter("info").expect("the default").to_string();
        assert!(quiet.contains("openraft=error"), "{quiet}");
        assert!(parse_filter("quorate=loud").is_err_and(|error| error.contains("quorate=loud")));
    }
}
