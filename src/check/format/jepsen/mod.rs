//! Jepsen's histories: EDN maps `{:index :time :process :type :f :value :error}`, one after the other or in
//! one vector.
//!
//! | Jepsen | here |
//! |---|---|
//! | `:read nil`, `:write v`, `:cas [old new]` | a register, [`REGISTER`]; in tuples `[k v]`, the key `k` |
//! | `:txn [[:append k v] [:r k nil] [:w k v]]` | a transaction; `:r` reads a list where there are appends |
//! | `:add v`, `:read` of all | a write of the key `set/v`, a range read of `set/` |
//! | `:acquire`, `:release` | the lock [`REGISTER`], without a token |
//! | `:process :nemesis` | faults, from what starts to what stops |
//!
//! An `:ok` read of `nil` has found nothing (Knossos takes it for "any value"); `:fail` was not done, and
//! says nothing else, not even of a `cas`; `:info` and a call without an end are unknown, and their process
//! must not call again. The order of lines is the order of time: equal or falling times are moved up to rise.
//!
//! Values become texts so that different values stay different: an integer its digits, a string itself
//! unless it could be taken for something else (then with its quotes), a keyword with its colon.

mod nemesis;
mod read;
mod value;
mod write;

pub use self::{
    read::read,
    write::{ExportError, write_lists, write_register},
};

/// The name of the one register, and of the one lock, of a file that names none.
pub const REGISTER: &str = "r";

/// What the keys of a set begin with.
pub const SET: &str = "set/";

#[cfg(test)]
mod tests;
