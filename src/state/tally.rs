//! A tally of records: how many, and a sum over their ids that does not depend on their order.
//!
//! The engine syncs nothing: after a power cut a part in the middle of its file may be gone, while the newest
//! part, and the head in it, is there. Blocks have checksums, but nothing of a block that is missing can have
//! one. So the head says which records were ever *added*, and the compaction's progress which it *removed*:
//! the difference must be what the scan at open finds. Each of the two is written with its change, in one
//! batch, and by one writer: apply and compaction need not agree on an order.
//!
//! Absent: what is not a record. Head, membership and progress lie side by side, on the page written last.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    block::RecordId,
    codec::{Input, Malformed, put_varint},
};

/// Stands for a set of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub count: u64,
    sum: u64,
}

impl Tally {
    /// Takes a record in.
    pub fn add(&mut self, id: RecordId) {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&id.main.to_le_bytes());
        bytes[8..].copy_from_slice(&id.sub.to_le_bytes());
        *self = self.plus(Tally { count: 1, sum: xxh3_64(&bytes) });
    }

    /// Of both sets.
    pub fn plus(self, other: Tally) -> Tally {
        Tally { count: self.count.wrapping_add(other.count), sum: self.sum.wrapping_add(other.sum) }
    }

    /// Without the other set. Of damaged data, this may be no set at all.
    pub fn minus(self, other: Tally) -> Tally {
        Tally { count: self.count.wrapping_sub(other.count), sum: self.sum.wrapping_sub(other.sum) }
    }

    pub fn put(self, out: &mut Vec<u8>) {
        put_varint(out, self.count);
        out.extend_from_slice(&self.sum.to_le_bytes());
    }

    /// The inverse of [`Self::put`].
    pub fn read(input: &mut Input) -> Result<Tally, Malformed> {
        Ok(Tally { count: input.varint()?, sum: u64::from_le_bytes(input.array()?) })
    }
}

#[cfg(test)]
mod tests;
