//! Bringing log, state and snapshot together at start.
//!
//! The state is a view of snapshot and log. If it is damaged, or its position fits neither, it is moved
//! aside, rebuilt from the newest snapshot (or from nothing, if the log still begins at the beginning), and
//! the log does the rest. What cannot be rebuilt is refused, with the reason. An IO error (no space, no
//! permission) says nothing against the state: the start is refused, and everything left as it is.
//!
//! So it is with a damaged snapshot: where the state and the log do without it, or the log alone does, it is
//! moved aside and taken anew; where its data is needed, the start is refused.

use std::{io, sync::Arc};

use tracing::{info, warn};

use super::{
    identity::{DataDir, Identity},
    stores::Stores,
};
use crate::{
    config::Config,
    error::Error,
    log::{self, LogState, RaftLog},
    raft::{
        snapshots::{SnapshotFile, SnapshotStore},
        state_machine::{check_snapshot, inspect, is_damage, load_snapshot, read_meta},
    },
    state::{Corruption, Position, StateMachine},
    storage::{EngineError, EngineHome},
};

/// Free bytes without which no start is tried: two segments of sled and the first ones of the log, with room
/// to spare.
const START_BYTES_MIN: u64 = 8 << 20;

/// What a member stands on.
pub struct Ground {
    /// The Raft log.
    pub log: Arc<dyn RaftLog>,
    /// Where the state's engine lives.
    pub home: Arc<dyn EngineHome>,
    /// The state.
    pub machine: StateMachine,
    /// Snapshot files.
    pub snapshots: Arc<SnapshotStore>,
    /// Bytes of the log behind the newest snapshot that were applied before, about.
    pub unsnapshotted: u64,
}

/// Opens everything under a data directory. Blocking.
pub fn recover(
    stores: &dyn Stores,
    config: &Config,
    dir: &DataDir,
    identity: &Identity,
) -> Result<Ground, Error> {
    check_space(dir)?;
    let fail = |what: &str, error: String| Error::Invalid(dir.explain(format!("{what}: {error}")));
    let log = stores.log(config, &dir.join("log")).map_err(|e| fail("raft log", e.to_string()))?;
    let state = log.state();
    if identity.initialized && state.vote.is_none() && state.last.is_none() {
        return Err(Error::Invalid(format!(
            "data directory {}: the raft log is empty, but this member had begun: it has lost its data \
             and must not come back under its old id (docs/runbook.md, \"Wiped voter\")",
            dir.path().display()
        )));
    }
    let snapshots =
        SnapshotStore::open(dir.join("snapshots")).map_err(|e| fail("snapshots", e.to_string()))?;
    let home = stores.home(config, &dir.join("state"));
    let machine = open_state(&*home, &snapshots, &*log).map_err(|e| fail("state", e))?;
    let newest = snapshots.newest().map_err(|e| fail("snapshots", e.to_string()))?;
    let unsnapshotted = unsnapshotted(newest.as_ref(), machine.applied(), &*log);
    info!(applied = ?machine.applied(), log = ?state, unsnapshotted, "recovered");
    Ok(Ground { log, home, machine, snapshots: Arc::new(snapshots), unsnapshotted })
}

/// How much of the log lies between a snapshot and what is applied: of the log's bytes, the part that these
/// entries are of all. (What follows is counted when it is applied again.)
fn unsnapshotted(snapshot: Option<&SnapshotFile>, applied: Option<Position>, log: &dyn RaftLog) -> u64 {
    let state = log.state();
    let next = |at: Option<u64>| at.map_or(0, |index| index + 1);
    let (first, end) = (next(state.purged.map(|at| at.index)), next(state.last.map(|at| at.index)));
    let covered = next(snapshot.and_then(SnapshotFile::position).map(|at| at.index));
    let behind = next(applied.map(|at| at.index)).min(end).saturating_sub(covered.max(first));
    let share = u128::from(log.size()) * u128::from(behind) / u128::from(end.saturating_sub(first).max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// sled may panic, or leave half a segment, where there is no space to open its files.
fn check_space(dir: &DataDir) -> Result<(), Error> {
    match dir.free_bytes() {
        Ok(free) if free < START_BYTES_MIN => Err(Error::Invalid(format!(
            "disk full under {}: {free} bytes are free, a start needs {START_BYTES_MIN}: make space, then \
             start again",
            dir.path().display()
        ))),
        Ok(_) => Ok(()),
        Err(error) => {
            let dir = dir.path().display();
            Err(Error::Invalid(format!("cannot read the free space under {dir}: {error}")))
        }
    }
}

/// The state as it is on disk, or rebuilt. The error says what stands in the way.
fn open_state(
    home: &dyn EngineHome,
    snapshots: &SnapshotStore,
    log: &dyn RaftLog,
) -> Result<StateMachine, String> {
    let snapshot = snapshots.newest().map_err(|e| format!("the newest snapshot: {e}"))?;
    let why = match home.open_current().map_err(Corruption::from).and_then(StateMachine::open) {
        Ok(machine) => match misfit(machine.applied(), log, snapshot.as_ref())? {
            None => {
                let checked = without_need(snapshots, snapshot.as_ref(), machine.applied());
                return checked.map(|()| machine).map_err(|e| format!("the newest snapshot: {e}"));
            }
            Some(why) => why,
        },
        Err(Corruption::Engine(error @ EngineError::Io { .. })) => return Err(error.to_string()),
        Err(damage) => damage.to_string(),
    };
    warn!(why, "the state is damaged or does not fit the log: moving it aside and rebuilding it");
    rebuild(home, snapshots, log)
}

/// Looks at a snapshot that state and log do without. Raft reads the header; or all of it, and loads it, if
/// it reaches further than the state.
fn without_need(
    snapshots: &SnapshotStore,
    snapshot: Option<&SnapshotFile>,
    applied: Option<Position>,
) -> io::Result<()> {
    let Some(file) = snapshot else { return Ok(()) };
    let further = file.position().map(|at| at.index) > applied.map(|at| at.index);
    inspect(snapshots, file, if further { check_snapshot } else { read_meta })
}

/// Why a state at `applied` cannot be continued by the log, if so. The error: the log cannot be read.
fn misfit(
    applied: Option<Position>,
    log: &dyn RaftLog,
    snapshot: Option<&SnapshotFile>,
) -> Result<Option<String>, String> {
    Ok(contradiction(applied, log)?.or_else(|| gap(applied, &log.state(), snapshot)))
}

/// Whether the log has another entry where the state says that it applied one.
fn contradiction(applied: Option<Position>, log: &dyn RaftLog) -> Result<Option<String>, String> {
    let Some(at) = applied else { return Ok(None) };
    let state = log.state();
    let held = |end: Option<log::Position>| end.is_some_and(|end| end.index >= at.index);
    if held(state.purged) || !held(state.last) {
        return Ok(None);
    }
    let found = log.read(at.index..at.index + 1, 1);
    let found = found.map_err(|e| format!("the log cannot be read where the state ends, at {at:?}: {e}"))?;
    let found = found.first().map(|record| record.at);
    let same = found.is_some_and(|found| found.term == at.term);
    Ok((!same).then(|| format!("it has applied {at:?}, but the log holds {found:?} there")))
}

/// Whether entries are missing between the state and the log.
fn gap(applied: Option<Position>, log: &LogState, snapshot: Option<&SnapshotFile>) -> Option<String> {
    let next = applied.map_or(0, |at| at.index + 1);
    let purged_to = log.purged.map_or(0, |at| at.index + 1);
    let log_to = log.last.map_or(0, |at| at.index + 1);
    if next < purged_to {
        return Some(format!("it has applied up to {applied:?}, but the log begins behind {:?}", log.purged));
    }
    // A snapshot may be installed while the log that it covers was not yet dropped.
    let covered =
        snapshot.is_some_and(|file| file.position().map(|at| at.index) == applied.map(|at| at.index));
    if next > log_to && !covered {
        return Some(format!("it has applied up to {applied:?}, but the log ends at {:?}", log.last));
    }
    None
}

fn rebuild(
    home: &dyn EngineHome,
    snapshots: &SnapshotStore,
    log: &dyn RaftLog,
) -> Result<StateMachine, String> {
    let fail = |error: String| format!("it cannot be rebuilt: {error}");
    home.set_aside().map_err(|e| fail(e.to_string()))?;
    let io = |error: io::Error| fail(error.to_string());
    let machine = match snapshots.newest().map_err(io)? {
        None => begin_anew(home).map_err(fail)?,
        Some(file) => match load_snapshot(home, &file) {
            // The log has all of it from the beginning.
            Err(damage) if is_damage(&damage) && log.state().purged.is_none() => {
                snapshots.set_aside(&file, &damage).map_err(io)?;
                begin_anew(home).map_err(fail)?
            }
            loaded => loaded.map_err(|e| fail(format!("{}: {e}", file.path().display())))?,
        },
    };
    match misfit(machine.applied(), log, snapshots.newest().map_err(io)?.as_ref())? {
        None => Ok(machine),
        Some(why) => {
            Err(fail(format!("{why}, and no snapshot closes the gap (docs/runbook.md, \"Damaged state\")")))
        }
    }
}

fn begin_anew(home: &dyn EngineHome) -> Result<StateMachine, String> {
    home.open_current().map_err(Corruption::from).and_then(StateMachine::open).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
