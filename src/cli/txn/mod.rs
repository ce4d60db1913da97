//! Transactions as they are typed: a small language for people (`text`), JSON for programs (`json`).

pub mod json;
mod lexer;
pub mod text;

use std::fmt;

/// Why a transaction cannot be read, and where. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction, line {}, column {}: {}", self.line, self.column, self.why)
    }
}

#[cfg(test)]
mod tests;
