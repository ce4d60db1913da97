//! What clients did and saw.
//!
//! All times are nanoseconds on one monotonic clock, that of whoever recorded the history, counted from its
//! beginning. Keys and values are text; values that are written should be unique, since that is what makes
//! a history cheap to check.

mod answer;
mod fault;
mod operation;
mod stream;

use serde::{Deserialize, Serialize};

pub use self::{
    answer::{nanos, text},
    fault::{Fault, FaultKind, FinalState, Leadership},
    operation::{Action, Condition, Expected, Found, Operation, Outcome, Seen, Step},
    stream::{Delivery, DeliveryKind, Event},
};

/// Nanoseconds since the history began.
pub type Nanos = u64;

/// A key or a value. Readers intern it: the same text is held once.
pub type Text = std::sync::Arc<str>;

/// A recorded run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Under which conditions it was recorded.
    pub about: About,
    /// What clients asked, in order of call.
    pub operations: Vec<Operation>,
    /// What watches were told, in order of arrival.
    pub deliveries: Vec<Delivery>,
    /// What was done to the cluster, in order of beginning.
    pub faults: Vec<Fault>,
    /// Who was seen to lead, in order of time.
    pub leaders: Vec<Leadership>,
    /// What each member held in the end, after everything was healed.
    pub finals: Vec<FinalState>,
}

/// The conditions of a run: the first line of its file. Everything is optional; what is missing is not
/// checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct About {
    /// The version of the format: 1.
    pub quorate_history: u32,
    /// What ran, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The command that recorded it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// The calendar's time at the beginning, RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub started: String,
    /// What every random choice was drawn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How many members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u64>,
    /// The difference of clock rates that leases allow for, as a fraction: 0.02 is two in a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_bound: Option<f64>,
    /// Whether all changes of the store are in this history, so that each revision has an operation here.
    pub complete: bool,
}
