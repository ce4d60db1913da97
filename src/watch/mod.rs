//! Watching keys change: who watches hears every change of its keys once, in order, all of one revision
//! together.
//!
//! ```text
//!   apply ──publish──▶ ring ◀──────────────── a watch that catches up, or
//!                       │ woken                       history, from the state
//!                       ▼                                   │
//!                    dispatcher ──offer──▶ seat of each     │
//!                     (index)               live watch ◀────┘ joins, when it has
//!                                              │               reached the dispatcher
//!                                              ▼
//!                                           Watcher::next
//! ```
//!
//! - *Apply never waits.* [`Hub::publish`] puts a commit's events into a bounded `ring` of recent ones and
//!   goes on.
//! - One task, [`Hub::dispatch`], takes them from there to the live watches: `index` finds those of a key
//!   without looking at the others. Fallen behind the ring, it reads the state's history.
//! - A *live* watch has a bounded buffer, its `seat`. When that is full the watch leaves the live set: it
//!   tells what it has, reads what it missed from the ring or the history, at the pace at which it is read,
//!   and joins again. So whoever does not read costs a buffer, and neither writers nor other watches notice.
//! - A watch is polled only while its reader takes what it tells. What others wait for too, a turn to read
//!   history, is therefore taken and given back in a task, never in the watch itself.
//!
//! *Invariant.* At any time a watch knows the least revision that it has not been given (`next`). It
//! joins only
//! if the dispatcher has not passed `next`, under the lock under which the dispatcher moves: nothing is lost,
//! nothing is told twice.
//!
//! A revision is told whole, but a large one in parts: [`Told::Events`] says when more follow. Whoever needs
//! it in one piece puts them together, within a bound of their own.
//!
//! The state's history is complete down to its compact revision. What is compacted before a watch has caught
//! up is lost to it, and it ends with [`Error::Compacted`](crate::error::Error::Compacted).
//!
//! Deliberately absent: headers and gRPC (`node` and `api` add them), and any guarantee about how fresh a
//! member is: a watch tells what this member has applied.

mod budget;
mod hub;
mod index;
mod ring;
mod seat;
#[cfg(test)]
mod tests;
mod watcher;

use std::time::Duration;

pub use self::{
    hub::Hub,
    seat::ProgressRequest,
    watcher::{Told, Watcher, wire_bytes},
};

/// Bytes of recent events that the ring keeps. Older ones are read from the history.
const RING_BYTES_MAX: usize = 8 << 20;

/// Revisions that the ring keeps: some seconds of a high load, so that a watch that changes members need not
/// read the history.
const RING_REVISIONS_MAX: u64 = 16_384;

/// Revisions in the buffer of a live watch. One more, and it leaves the live set.
const SEAT_GROUPS_MAX: usize = 256;

/// Bytes in the buffer of a live watch; one revision always fits.
const SEAT_BYTES_MAX: usize = 256 << 10;

/// Bytes that all watches of a member hold: in the buffers of live ones, and found by those that catch up.
/// Beyond it a watch that is offered more leaves the live set, unless it has read all, and one that catches
/// up finds one revision at a time: many watches that are not read cannot fill the memory.
const WATCHES_BYTES_MAX: usize = 64 << 20;

/// Bytes of history that are looked at in one go: whoever catches up holds no more, and compaction waits no
/// longer.
const HISTORY_BYTES: usize = 256 << 10;

/// Reads of history for watches at once; others wait their turn. Each holds a thread, and they exclude each
/// other in the state. The dispatcher's read is one more, and waits for none of them.
const HISTORY_READS_MAX: usize = 2;

/// Bytes of events of one revision that are told in one go, about, with the pairs before them, which are read
/// as they are told: a deletion may have removed more values than fit into memory. A single event is never
/// split.
const PART_BYTES: usize = 1 << 20;

/// What a pair of an event takes on the wire besides key and value: no more than that.
const PAIR_BYTES: usize = 64;

/// Commits taken from the ring in one go.
const RING_COMMITS: usize = 32;

/// Events of one revision whose former pairs are read without leaving the runtime's thread.
const INLINE_READS_MAX: usize = 8;

/// The least interval of progress: below it, telling would be all that is done.
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// When a watch that was refused for there being too many may be tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
