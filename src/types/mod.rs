//! The vocabulary: what every other module speaks in. No logic beyond validation of a single value, no IO.

mod call;
mod kv;
mod lease;
mod limits;
mod lock_key;
mod read;
mod watch;

pub use self::call::CallOptions;
pub use self::kv::{
    Compare, CompareTarget, Delete, DeleteResult, KeyRange, KeyValue, Op, OpResult, Operator, Put, Range,
    RangeResult, Scan, SortBy, Txn, TxnResult,
};
pub use self::lease::{
    Acquire, ElectionLeader, Grant, Granted, Guard, Held, KeptAlive, LeaseInfo, LeaseList, LeaseSummary,
    LockMode, LockPlace, LockProgress, LockState, Revoked, SESSION_RESPONSES_MAX, SessionSeq,
};
pub use self::limits::Limits;
pub use self::lock_key::LockKey;
pub use self::read::{
    ClusterId, Consistency, Evidence, Header, Level, Mechanism, MemberRole, NodeId, RangeAnswer, Route,
    Waited, WriteAnswer, WriteEvidence,
};
pub use self::watch::{Watch, WatchEvent, WatchUpdate};

/// A point in the store's history: one counter for the whole store, +1 for each request that changed
/// something. The empty store is at revision 1. It is a counter of the state machine, not an index of the
/// Raft log.
pub type Revision = u64;

/// A lease's id; 0 means "no lease".
pub type LeaseId = u64;

/// The revision of the empty store.
pub const FIRST_REVISION: Revision = 1;
