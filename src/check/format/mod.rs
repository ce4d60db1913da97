//! Histories as files: own JSON lines ([`jsonl`]) and Jepsen's EDN ([`jepsen`]).
//!
//! Reading is one pass over a stream; texts are held once however often they occur, so that a million
//! operations fit into a few hundred megabytes. A mistake is told with line, column and what was expected,
//! and a history that contradicts itself (an answer before its call, a process that does two things at once)
//! is a mistake too: no verdict is given on it.

mod edn;
pub mod jepsen;
pub mod jsonl;
mod order;
mod text;

use std::{
    fmt,
    io::{self, BufRead},
};

use super::history::History;

/// How a history is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Own JSON lines: everything that this program records.
    #[default]
    Jsonl,
    /// A Jepsen history.
    Edn,
}

impl Format {
    /// The form that a file's name suggests: `.edn` is Jepsen's.
    pub fn of_name(name: &str) -> Format {
        if name.ends_with(".edn") { Format::Edn } else { Format::Jsonl }
    }
}

/// Bytes of one line of JSON, and of one EDN form. A longer one is no row of a history, but another kind of
/// file, and would only fill the memory.
pub const ROW_BYTES_MAX: usize = 16 << 20;

/// Reads a history to its end.
///
/// # Errors
/// It cannot be read, or is none: where, and what was expected.
pub fn read(input: impl BufRead, format: Format) -> Result<History, ReadError> {
    match format {
        Format::Jsonl => jsonl::read(input),
        Format::Edn => jepsen::read(input),
    }
}

/// Why a history could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The stream ended with an error.
    Io(io::Error),
    /// What it says is no history.
    Malformed(Malformed),
}

/// What is wrong with a history, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: usize,
    /// The column, in bytes from 1.
    pub column: usize,
    /// What was expected, and what was found.
    pub what: String,
}

impl Malformed {
    fn new(line: usize, column: usize, what: impl Into<String>) -> Malformed {
        Malformed { line, column, what: what.into() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "cannot be read: {error}"),
            ReadError::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Io(error) => Some(error),
            ReadError::Malformed(_) => None,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

impl From<Malformed> for ReadError {
    fn from(malformed: Malformed) -> ReadError {
        ReadError::Malformed(malformed)
    }
}

#[cfg(test)]
mod tests;
