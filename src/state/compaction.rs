//! Compaction: forgetting what no readable revision shows.
//!
//! The command `Compact(r)` only moves the compact revision; from then on reads below it are refused. What it
//! made superfluous is removed later, by [`Compactor::step`], a few blocks at a time, on any thread, at any
//! pace: no answer and no hash depends on how far it has got.
//!
//! A step runs beside apply and reads. This is correct because
//! - its target is a revision that is applied, so that the verdict on a record at or below it never changes:
//!   later commands add changes above;
//! - it rewrites only blocks that begin at or below the target, and apply only adds blocks above: the keys of
//!   their engine batches are disjoint;
//! - a block's survivors and its removal are one engine batch, and `floor` of a survivor's id finds it before
//!   and after;
//! - it holds the index's lock for one block at a time, and the progress lock for the step, so that a
//!   snapshot is pinned between steps. While one is pinned, steps do nothing.
//!
//! Small blocks next to each other are merged on the way. The progress is stored with each step: a restart
//! resumes.

use std::sync::Arc;

use super::{
    Corruption, Shared,
    block::{self, BLOCK_BYTES, Block, Packer, Record, RecordId},
    codec::{self, Malformed, put_varint},
    core::Core,
    tally::Tally,
};
use crate::{
    mutant::Mutant,
    storage::{Batch, Engine, Key},
    types::{FIRST_REVISION, Revision},
};

/// Version 1 had no tally: nothing was removed that a tally knew of.
const PROGRESS_VERSION: u8 = 2;

/// Keys forgotten under one lock.
const FORGET_KEYS: usize = 256;

/// How far physical compaction has got, and who forbids it.
#[derive(Debug)]
pub(super) struct Progress {
    /// The revision compacted to.
    target: Revision,
    /// The next block to look at; `None`: all done up to `target`.
    next: Option<RecordId>,
    /// The records removed.
    pub removed: Tally,
    /// Snapshots that are being built.
    pub pins: usize,
}

impl Progress {
    pub fn load(engine: &dyn Engine) -> Result<Progress, Corruption> {
        match engine.get(&Key::Compaction.encode())? {
            None => {
                let removed = Tally::default();
                Ok(Progress { target: FIRST_REVISION, next: None, removed, pins: 0 })
            }
            Some(sealed) => Progress::decode(&sealed).map_err(|why| Corruption::damaged("compaction", why)),
        }
    }

    fn decode(sealed: &[u8]) -> Result<Progress, Malformed> {
        let (version, mut input) = codec::open_upto(sealed, PROGRESS_VERSION)?;
        let target = input.varint()?;
        let next = match input.u8()? {
            0 => None,
            1 => {
                let main = input.varint()?;
                let sub = u32::try_from(input.varint()?).map_err(|_| Malformed("place too large"))?;
                Some(RecordId { main, sub })
            }
            _ => return Err(Malformed("neither a block nor none")),
        };
        let removed = if version == 1 { Tally::default() } else { Tally::read(&mut input)? };
        input.end()?;
        Ok(Progress { target, next, removed, pins: 0 })
    }

    fn put(&self, batch: &mut Batch) {
        let mut out = codec::unsealed(32);
        put_varint(&mut out, self.target);
        out.push(u8::from(self.next.is_some()));
        if let Some(next) = self.next {
            put_varint(&mut out, next.main);
            put_varint(&mut out, u64::from(next.sub));
        }
        self.removed.put(&mut out);
        batch.put(Key::Compaction.encode(), codec::seal(out, PROGRESS_VERSION));
    }

    /// Where to go on; `None` if there is nothing to do.
    fn start(&mut self, compact_revision: Revision) -> Option<RecordId> {
        if self.next.is_none() && self.target < compact_revision {
            self.target = compact_revision;
            self.next = Some(RecordId::default());
        }
        self.next
    }
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More,
    /// There is more to do, and a later compaction waits for it: as much is written as this forgets.
    Late,
    /// All is compacted up to the compact revision.
    Idle,
    /// A snapshot is being built. Ask again later.
    Paused,
}

/// Removes superseded records. Any number of handles; steps of one state exclude each other.
#[derive(Clone)]
pub struct Compactor {
    shared: Arc<Shared>,
}

impl Compactor {
    pub(super) fn new(shared: Arc<Shared>) -> Compactor {
        Compactor { shared }
    }

    /// Looks at about `bytes` of blocks (at least one block), and rewrites those which hold superseded
    /// records.
    pub fn step(&self, bytes: usize) -> Result<Step, Corruption> {
        let core = self.shared.core();
        let mut progress = core.progress();
        if progress.pins > 0 {
            return Ok(Step::Paused);
        }
        let compact_revision = core.read().head.compact_revision;
        let compact_revision = compact_revision + u64::from(Mutant::CompactionTooFar.is_on());
        let Some(from) = progress.start(compact_revision) else { return Ok(Step::Idle) };
        let target = progress.target;
        let mut rewrite = Rewrite::new(&core, target);
        progress.next = rewrite.run(from, bytes)?;
        rewrite.dropped.iter().for_each(|record| progress.removed.add(record.entry.id()));
        progress.put(&mut rewrite.batch);
        core.engine.write(&rewrite.batch)?;
        rewrite.forget();
        Ok(match progress.next {
            _ if target < compact_revision => Step::Late,
            Some(_) => Step::More,
            None => Step::Idle,
        })
    }
}

/// One step: the blocks that it replaces, and the keys whose history it shortens.
struct Rewrite<'a> {
    core: &'a Core,
    target: Revision,
    packer: Packer,
    batch: Batch,
    dropped: Vec<Record>,
}

impl<'a> Rewrite<'a> {
    fn new(core: &'a Core, target: Revision) -> Self {
        let packer = Packer::new(BLOCK_BYTES);
        Rewrite { core, target, packer, batch: Batch::default(), dropped: Vec::new() }
    }

    /// Returns the block to go on with.
    fn run(&mut self, from: RecordId, bytes: usize) -> Result<Option<RecordId>, Corruption> {
        let end = RecordId { main: self.target.saturating_add(1), sub: 0 }.key().encode();
        let mut seen = 0;
        let mut next = None;
        for block in block::scan(&*self.core.engine, from, &end) {
            let block = block?;
            if seen > 0 && seen + block.size() > bytes {
                next = Some(block.name());
                break;
            }
            seen += block.size();
            self.block(&block)?;
        }
        self.packer.close();
        for (name, packed) in self.packer.take_full() {
            self.batch.put(name.key().encode(), packed);
        }
        Ok(next)
    }

    fn block(&mut self, block: &Block) -> Result<(), Corruption> {
        let records = block.records()?;
        let total = records.len();
        let (kept, mut dropped) = self.divide(records);
        // A full block of which all stays is left alone; a small one is merged with its neighbours.
        if kept.len() == total && block.size() >= BLOCK_BYTES / 2 {
            self.packer.close();
            return Ok(());
        }
        self.batch.delete(block.name().key().encode());
        kept.iter().for_each(|record| self.packer.push(record));
        self.dropped.append(&mut dropped);
        Ok(())
    }

    fn divide(&self, records: Vec<Record>) -> (Vec<Record>, Vec<Record>) {
        let published = self.core.read();
        let keeps = |record: &Record| published.index.keeps(&record.key, record.entry.id(), self.target);
        records.into_iter().partition(keeps)
    }

    /// Drops from the index what was dropped from the engine.
    fn forget(&self) {
        for dropped in self.dropped.chunks(FORGET_KEYS) {
            let mut published = self.core.write();
            dropped.iter().for_each(|record| published.index.compact(&record.key, self.target));
        }
    }
}
