//! Own JSON lines: one object a line, the conditions first, then rows of any kind in any order.
//!
//! `docs/history-format.md` has every field with a sample. In short: the first line is
//! [`About`](crate::check::history::About) with `"quorate_history": 1`; a row with `fault`, `leader` or
//! `final` tells that one; a row with `watch` is a delivery; every other is an operation, and `f` says which.
//! Times are nanoseconds on the recorder's clock. A field that a row does not know is a mistake: a typing
//! error must not weaken a check.
//!
//! The rows are made for programs that write while they run ([`Writer`]): a row says all of an operation, the
//! call and what came of it, and is written when that is known.

mod position;
mod read;
mod row;
mod write;

pub use self::{
    read::read,
    write::{Writer, operation_line, write},
};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;
