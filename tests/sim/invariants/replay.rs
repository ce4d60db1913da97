//! The reference: one state machine that applies the committed log, and compacts nothing, so that it knows
//! the state at every revision.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quorate::{
    log::Record,
    raft::{codec, types::EntryPayload},
    state::{Applied, Command, Event, LeaseChange, Operation, Outcome, Position, StateMachine, StateReader},
    storage::MemoryEngine,
    types::Revision,
};

use crate::world::LedgerEntry;

/// What was committed, applied.
pub struct Replayed {
    pub state: StateReader,
    /// By index.
    pub commands: BTreeMap<u64, Replay>,
    pub events: BTreeMap<Revision, Vec<Event>>,
    /// When each lease ended, by whatever command.
    pub ended: BTreeMap<u64, Duration>,
    /// Up to here the members have compacted; the reference has not.
    pub compacted: Revision,
}

/// One command and what it gave.
pub struct Replay {
    pub command: Arc<Command>,
    pub applied: Applied,
}

impl Replay {
    /// Whether it was applied here: neither a stored answer nor a refusal.
    pub fn took_effect(&self) -> bool {
        !self.applied.deduplicated && !matches!(self.applied.outcome, Outcome::Refused(_))
    }
}

/// Applies the entries. The error says what is wrong with them.
pub fn replay(entries: &[LedgerEntry]) -> Result<Replayed, String> {
    let mut machine = StateMachine::open(Arc::new(MemoryEngine::new())).map_err(|e| e.to_string())?;
    let (mut commands, mut events, mut ended) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for entry in entries {
        let at = Position { term: entry.at.term, index: entry.at.index };
        let record = Record { at: entry.at, payload: entry.payload.clone() };
        let mut batch = machine.begin();
        match codec::from_record(record).map_err(|e| e.to_string())?.payload {
            EntryPayload::Blank => machine.note(&mut batch, at).map_err(|e| e.to_string())?,
            EntryPayload::Membership(membership) => {
                let bytes = codec::encode_membership(&membership);
                machine.set_membership(&mut batch, at, bytes).map_err(|e| e.to_string())?;
            }
            EntryPayload::Normal(proposal) => {
                let command = proposal.command().clone();
                let applied = machine.apply(&mut batch, at, &keeping(&command)).map_err(|e| e.to_string())?;
                commands.insert(at.index, Replay { command, applied });
            }
        }
        let committed = machine.commit(batch).map_err(|e| e.to_string())?;
        for change in committed.leases {
            if let LeaseChange::Ended { lease } = change {
                ended.insert(lease, entry.committed);
            }
        }
        for event in committed.events {
            events.entry(event.revision).or_insert_with(Vec::new).push(event);
        }
    }
    let compactions = commands.values().filter_map(|replay: &Replay| match replay.command.op {
        Operation::Compact(revision) => Some(revision),
        _ => None,
    });
    let compacted = compactions.max().unwrap_or(0);
    Ok(Replayed { state: machine.reader(), commands, events, ended, compacted })
}

/// The command, but for compaction, which makes no revision and of which the reference wants to know nothing.
fn keeping(command: &Command) -> Command {
    let op = match &command.op {
        Operation::Compact(_) => Operation::Marker,
        op => op.clone(),
    };
    Command { op, ..command.clone() }
}
