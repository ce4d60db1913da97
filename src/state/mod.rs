//! The replicated state machine: a store of keys with history. Synchronous, deterministic, without clock,
//! without IO but the engine's.
//!
//! # Model
//!
//! The state is a function of the log. Every entry is applied in order, by one [`StateMachine`]; each command
//! that changes something makes one [`Revision`](crate::types::Revision), whatever number of keys it changes.
//! A change of a key is a *record*, named by its revision and its place within it (`main`, `sub`), and never
//! changes afterwards. The history of a key is the list of its records; at revision r the key is what its
//! last record at or below r says.
//!
//! ```text
//!   engine   blocks of records by (main, sub) · journal of leases and sessions
//!            head {applied, revision, compact revision, tally} · membership
//!   memory   index: key -> its history, without values; lease -> its keys; rebuilt by one scan at open
//!            leases and sessions, replayed from their journal
//!            records that were written or read lately
//! ```
//!
//! # The way of a write
//!
//! [`StateMachine::begin`] gives an [`ApplyBatch`]: an overlay over what is published.
//! [`StateMachine::apply`] executes one entry on it and answers; all its reads go through the overlay. A
//! request of a session that was applied before gets its stored response; then the guards (fencing) must
//! hold; then the operation is executed.
//! [`StateMachine::commit`] writes the records, the head and the membership in **one** engine batch, and then
//! shows index and head to readers in **one** instant. Where a log is cut into batches changes no answer and
//! no hash.
//!
//! # The way of a read
//!
//! [`StateReader`] fixes a revision, resolves keys in the index in short steps, and reads records without a
//! lock. What it reads cannot change under it; it can only be compacted, and then the read says so. The
//! [`View`] that comes with an answer is of the instant at which the revision was fixed.
//!
//! # Refused and broken
//!
//! A [`Refusal`] is an answer: deterministic, and nothing was changed. A [`Corruption`] means that this
//! member's state cannot go on: the engine failed, data is damaged, or the log has a hole.
//!
//! # Deliberately absent
//!
//! - Durability: an acknowledged write is in a quorum of logs. The engine may lose its tail, or all; see
//!   `storage`.
//! - Time: leases expire by a command of the leader that counted them down, ignored if another leads since.
//! - Limits inside apply that come from configuration: members may be configured differently, and must agree.
//! - Watchers: [`StateMachine::commit`] hands out events and forgets them; history can be read again.
//! - Locks: they are keys with leases (`recipes`); only their guards are known here.

mod apply;
mod block;
mod codec;
mod command;
mod compaction;
mod core;
mod history;
mod index;
mod journal;
mod leases;
mod machine;
mod overlay;
mod range;
mod reader;
mod recent;
pub mod snapshot;
mod stored;
mod tally;
mod txn;
mod validate;
mod view;

pub use self::{
    command::{Applied, Command, Doomed, Expire, GrantLease, Operation, Outcome, Refusal},
    compaction::{Compactor, Step},
    history::{History, HistoryBounds},
    leases::MADE_IDS,
    machine::{Committed, Former, LeaseChange, StateMachine},
    overlay::ApplyBatch,
    reader::{Hashed, LeaseRecord, Page, PageQuery, StateReader},
    snapshot::PinnedSnapshot,
    validate::{validate, validate_command, validate_range},
    view::{Corruption, Event, EventKind, Membership, Position, ReadError, View},
};

use self::{machine::Shared, view::Head};
