//! The one writer: applies entries to a batch, commits it, and hands out readers, compactors and snapshots.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::{
    Applied, ApplyBatch, Command, Compactor, Corruption, Event, Head, Membership, PinnedSnapshot, Position,
    StateReader, apply,
    block::{BLOCK_BYTES, Packer},
    core::{self, Core, Inventory},
    leases::Change,
    recent::Recent,
    tally::Tally,
};
use crate::{
    mutant::Mutant,
    storage::{Batch, Engine},
    types::LeaseId,
};

/// The current state, for all handles: exchanged as a whole when a snapshot is installed.
pub(super) struct Shared {
    core: RwLock<Arc<Core>>,
}

impl Shared {
    pub fn core(&self) -> Arc<Core> {
        self.core.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a commit made visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// What happened to keys, in order of revision.
    pub events: Vec<Event>,
    /// What happened to leases, in order.
    pub leases: Vec<LeaseChange>,
}

/// What happened to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// It was granted.
    Granted {
        /// Its id.
        lease: LeaseId,
        /// How long it lives without a keep-alive.
        ttl_ms: u64,
        /// The index of the entry that granted it.
        granted_at: u64,
    },
    /// It has ended.
    Ended {
        /// Its id.
        lease: LeaseId,
    },
}

impl LeaseChange {
    fn of(change: &Change) -> Option<LeaseChange> {
        match *change {
            Change::Grant { lease, ttl_ms, granted_at, .. } => {
                Some(LeaseChange::Granted { lease, ttl_ms, granted_at })
            }
            Change::End { lease } => Some(LeaseChange::Ended { lease }),
            Change::Acknowledge { .. } | Change::Respond { .. } => None,
        }
    }
}

/// A state that was replaced.
pub struct Former {
    _cores: [Arc<Core>; 2],
}

/// The replicated state machine. There is one per member, and it alone changes the state.
pub struct StateMachine {
    shared: Arc<Shared>,
    core: Arc<Core>,
}

impl StateMachine {
    /// Opens what the engine holds; a new engine holds the empty store. Scans all records to build the index.
    pub fn open(engine: Arc<dyn Engine>) -> Result<StateMachine, Corruption> {
        let core = Arc::new(Core::open(engine)?);
        Ok(StateMachine { shared: Arc::new(Shared { core: RwLock::new(core.clone()) }), core })
    }

    /// An empty one that nothing outlives, for tests of whoever stands on it.
    #[cfg(test)]
    pub fn in_memory() -> StateMachine {
        let engine = Arc::new(crate::storage::MemoryEngine::new());
        StateMachine::open(engine).expect("an empty engine opens")
    }

    /// A handle for reads, from any thread, beside apply.
    pub fn reader(&self) -> StateReader {
        StateReader::new(self.shared.clone())
    }

    /// A handle that removes what compaction made superfluous, from any thread, beside apply.
    pub fn compactor(&self) -> Compactor {
        Compactor::new(self.shared.clone())
    }

    /// The last log entry that was committed to the state.
    pub fn applied(&self) -> Option<Position> {
        self.core.read().head.applied
    }

    /// The last membership that was committed.
    pub fn membership(&self) -> Option<Membership> {
        self.core.read().membership.clone()
    }

    /// The engine underneath, for checkpoints (`flush`) and its size.
    pub fn engine(&self) -> Arc<dyn Engine> {
        self.core.engine.clone()
    }

    /// Starts a batch. One at a time: it must be committed or dropped before the next begins.
    pub fn begin(&self) -> ApplyBatch {
        ApplyBatch::new(self.core.clone())
    }

    /// Applies the command of the entry `at`, which must follow the last one. Deterministic: the answer
    /// depends on the log up to `at` and on nothing else.
    pub fn apply(
        &mut self,
        batch: &mut ApplyBatch,
        at: Position,
        command: &Command,
    ) -> Result<Applied, Corruption> {
        batch.advance(at)?;
        apply::apply(batch, at, command)
    }

    /// Passes an entry that is no command (a new leader's blank one).
    pub fn note(&mut self, batch: &mut ApplyBatch, at: Position) -> Result<(), Corruption> {
        batch.advance(at)
    }

    /// Passes an entry that sets the membership, which is kept as it is given.
    pub fn set_membership(
        &mut self,
        batch: &mut ApplyBatch,
        at: Position,
        membership: Bytes,
    ) -> Result<(), Corruption> {
        batch.advance(at)?;
        batch.membership = Some((at, membership));
        Ok(())
    }

    /// Writes a batch to the engine, atomically, then shows it to readers, in one instant. After an error the
    /// machine must not be used any more.
    pub fn commit(&mut self, batch: ApplyBatch) -> Result<Committed, Corruption> {
        if !batch.is_on(&self.core) {
            return Err(Corruption::StaleBatch { begun: batch.begun(), applied: self.applied() });
        }
        let mut added = self.core.read().added;
        batch.new_records().for_each(|record| added.add(record.entry.id()));
        let writes = self.encode(&batch, added);
        if Mutant::AppliedApart.is_on() {
            self.core.engine.write(&self.not_yet_applied(&batch, added, writes.clone()))?;
        }
        self.core.engine.write(&writes)?;
        let copies: Vec<_> = batch.new_records().map(Recent::copy).collect();
        {
            let mut published = self.core.write();
            for (record, copy) in batch.new_records().zip(copies) {
                let hint = published.recent.hint(&record.key);
                let place = published.index.insert(&record.key, record.entry, hint);
                published.recent.set(&record.key, copy, place);
            }
            published.head = batch.head;
            published.added = added;
            if let Some(membership) = &batch.membership {
                published.membership = Some(membership.clone());
            }
            published.leases = batch.leases.clone();
        }
        let leases = batch.lease_changes().iter().filter_map(LeaseChange::of).collect();
        Ok(Committed { leases, events: batch.into_events() })
    }

    /// Holds the committed state as it is, for a snapshot. Cheap; apply goes on, compaction pauses.
    pub fn pin(&self) -> PinnedSnapshot {
        PinnedSnapshot::new(self.core.clone())
    }

    /// Takes over another state, as loaded from a snapshot. Readers see it from one instant to the next;
    /// reads that are under way finish on the former one. To drop what is returned may take long: the last
    /// user of the former state closes and removes its engine.
    pub fn replace(&mut self, new: StateMachine) -> Former {
        let own = std::mem::replace(&mut self.core, new.core);
        let mut shared = self.shared.core.write().unwrap_or_else(PoisonError::into_inner);
        Former { _cores: [own, std::mem::replace(&mut *shared, self.core.clone())] }
    }

    /// The writes of a batch, but for its place in the log: by [`Mutant::AppliedApart`] alone.
    fn not_yet_applied(&self, batch: &ApplyBatch, added: Tally, mut writes: Batch) -> Batch {
        let head = Head { applied: self.applied(), ..batch.head };
        core::put_head(&mut writes, &head, Inventory { added, journal: self.core.journal().sealed });
        writes
    }

    fn encode(&self, batch: &ApplyBatch, added: Tally) -> Batch {
        let mut packer = Packer::new(BLOCK_BYTES);
        batch.new_records().for_each(|record| packer.push(record));
        let mut writes = Batch::default();
        for (name, block) in packer.finish() {
            writes.put(name.key().encode(), block);
        }
        let journal = {
            let mut journal = self.core.journal();
            journal.commit(batch.lease_changes(), &batch.leases, &mut writes);
            journal.sealed
        };
        if let Some(membership) = &batch.membership {
            core::put_membership(&mut writes, membership);
        }
        core::put_head(&mut writes, &batch.head, Inventory { added, journal });
        writes
    }
}
