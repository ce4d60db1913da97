//! Between the wire and the vocabulary: [`crate::pb::v1`] to and from [`crate::types`] and [`crate::error`].
//!
//! The server and the client share it, so that each side reads what the other wrote. Towards the wire nothing
//! can fail (`From`). From the wire anything can be missing or unknown: such a request is [`Error::Invalid`],
//! naming the field; such an answer is what [`answer`] says. Absent: limits and meaning (sizes, inverted
//! ranges), which `state` validates. The one exception is the depth of nested transactions, because the
//! conversion itself recurses.
//!
//! Durations travel as whole milliseconds or microseconds. Bounds that were asked for are rounded down, those
//! that were proved are rounded up: rounding never promises more.

pub mod answer;
pub mod error;
mod exactness;
mod kv;
pub mod lease;
pub mod lock;
mod read;
mod txn;
mod watch;

use std::time::Duration;

use crate::error::Error;

pub use self::answer::RequestKind;
pub use self::error::{code, from_status, root_cause, to_status};
pub use self::exactness::{exactness, with_exactness};
pub use self::read::{consistency, evidence};
pub use self::txn::txn;

/// The content of a field that must be there.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::Invalid(format!("{field} is missing")))
}

/// The meaning of an enumeration's number.
fn enumerated<E: TryFrom<i32>>(field: &str, number: i32) -> Result<E, Error> {
    E::try_from(number).map_err(|_| Error::Invalid(format!("{field} has the unknown value {number}")))
}

/// Whole milliseconds, rounded down: for what is asked.
fn millis_floor(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whole milliseconds, rounded up: for what is promised.
fn millis_ceil(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Whole microseconds, rounded down: for what was measured.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Converts every element, or fails with the first that cannot be.
fn all<A, B: TryFrom<A, Error = Error>>(items: Vec<A>) -> Result<Vec<B>, Error> {
    items.into_iter().map(B::try_from).collect()
}

/// Converts every element.
fn each<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
}
