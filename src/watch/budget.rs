//! How much all watches of a member hold for their readers: counted, so that many that are not read cannot
//! fill the memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{HISTORY_BYTES, WATCHES_BYTES_MAX};

/// The bytes that all of them hold.
#[derive(Default)]
pub struct Budget {
    bytes: AtomicUsize,
}

impl Budget {
    /// Whether so much more may be held.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.held() + bytes <= WATCHES_BYTES_MAX
    }

    /// How much a watch that catches up may find in one go. Without room for more it is one revision, so that
    /// whoever reads goes on all the same.
    pub fn portion(&self) -> usize {
        if self.has_room(HISTORY_BYTES) { HISTORY_BYTES } else { 1 }
    }

    /// Counts so much until the charge is dropped.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: self.clone(), bytes }
    }

    /// What is held.
    pub fn held(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Something that is counted.
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
