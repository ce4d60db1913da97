//! The ordered key-value engine under the state: a trait with two implementations that must agree, and a
//! queue in memory ([`Behind`]) in front of the one on disk.
//!
//! It is *not* the durability boundary. What was acknowledged is in a quorum of Raft logs; the engine is a
//! materialised view, which may be rebuilt from the newest snapshot file and the log at any time.

mod behind;
mod home;
mod keys;
mod memory;
mod sled;
#[cfg(test)]
mod tests;

pub use self::{
    behind::Behind,
    home::{DiskHome, EngineHome, Fresh, MemoryHome},
    keys::Key,
    memory::MemoryEngine,
    sled::SledEngine,
};

use bytes::Bytes;

/// One atomic change of an engine. Later operations on a key override earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    ops: Vec<(Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.ops.push((key.into(), Some(value.into())));
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.ops.push((key.into(), None));
    }

    /// The operations, in order: `None` deletes.
    pub fn ops(&self) -> &[(Bytes, Option<Bytes>)] {
        &self.ops
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// The engine failed. Fatal to the state that uses it; only [`EngineError::Damaged`] speaks against its data.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The operating system refused: no space, no permission, a broken disk. The data is what it was.
    #[error("cannot {what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// The refusal.
        error: std::io::Error,
    },
    /// The data cannot be decoded, or the engine gave up on it.
    #[error("storage engine: {0}")]
    Damaged(String),
}

/// A pair of the engine.
pub type Pair = (Bytes, Bytes);

/// An ordered map from bytes to bytes with atomic batches. Reads may run while a batch is written, and see
/// either none or all of it per call.
pub trait Engine: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// The pair with the greatest key at or below `key`.
    fn floor(&self, key: &[u8]) -> Result<Option<Pair>, EngineError>;

    /// All pairs with `from <= key < to`, in order.
    fn scan<'a>(&'a self, from: &[u8], to: &[u8])
    -> Box<dyn Iterator<Item = Result<Pair, EngineError>> + 'a>;

    /// Applies a batch atomically: after a crash, all or nothing of it is there, and of several batches a
    /// prefix.
    fn write(&self, batch: &Batch) -> Result<(), EngineError>;

    /// Whether a batch would be taken without waiting for what came before it.
    fn has_room(&self) -> bool {
        true
    }

    /// Waits until it would. Slow.
    fn make_room(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Hands what was written to the operating system: it survives the death of the process. Slow; not on the
    /// apply path.
    fn flush(&self) -> Result<(), EngineError>;

    /// Bytes on disk (or in memory), roughly.
    fn size(&self) -> u64;
}
