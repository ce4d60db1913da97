//! What readers see of a log: as if every call had reached the disk already. Plain data, no lock and no IO.
//!
//! Here every call is checked, so that what reaches a backend is always possible, and all backends agree on
//! what is refused.

use std::{collections::VecDeque, io, ops::Range};

use super::{LogState, Op, Position, Record, Vote};

/// The log as its callers know it.
#[derive(Debug)]
pub(super) struct View {
    state: LogState,
    /// The index of the first entry, or of the next one if there is none.
    first: u64,
    /// Entries that the backend may not have yet, each with the number of the operation that brings it there.
    pending: VecDeque<(u64, Record)>,
    /// Counts what takes entries away: a read that overlapped with it is done again.
    removals: u64,
}

/// Where the entries of a range are.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In the backend.
    pub stored: Range<u64>,
    /// Behind them.
    pub pending: Vec<Record>,
    /// [`View::removals`] when the plan was made.
    pub removals: u64,
}

impl View {
    /// A view of a backend that holds `state`; `first` is the index of the first entry, if there is one.
    pub fn new(state: LogState, first: Option<u64>) -> Self {
        let next = state.last.map_or(0, |last| last.index.saturating_add(1));
        View { state, first: first.unwrap_or(next), pending: VecDeque::new(), removals: 0 }
    }

    /// Vote, bounds and committed position.
    pub fn state(&self) -> LogState {
        self.state
    }

    /// Counts what took entries away.
    pub fn removals(&self) -> u64 {
        self.removals
    }

    /// Whether `op` is possible, and changes anything.
    pub fn check(&self, op: &Op) -> io::Result<bool> {
        let state = &self.state;
        match op {
            Op::Append(records) => self.check_append(records).map(|()| !records.is_empty()),
            Op::Vote(vote) => self.check_vote(*vote).map(|()| true),
            Op::Committed(at) => {
                Ok(Some(at.index) > state.committed.map(|at| at.index) && at.index < self.next())
            }
            Op::Truncate(last) => {
                let keep = last.map(|last| last.index);
                if keep >= state.last.map(|last| last.index) {
                    return Ok(false);
                }
                self.check_truncate(*last).map(|()| !self.is_empty())
            }
            Op::Purge(upto) if Some(upto.index) <= state.purged.map(|at| at.index) => Ok(false),
            // Before the beginning there is nothing to forget.
            Op::Purge(upto) if !self.is_empty() && upto.index.saturating_add(1) < self.first => Ok(false),
            Op::Purge(upto) => self.check_purge(*upto).map(|()| true),
        }
    }

    /// Takes in an operation that [`Self::check`] allowed. `number` is what [`Self::settle`] will name it by.
    pub fn apply(&mut self, number: u64, op: &Op) {
        match op {
            Op::Append(records) => {
                if self.is_empty() {
                    self.first = records.first().map_or(self.first, |record| record.at.index);
                }
                self.pending.extend(records.iter().cloned().map(|record| (number, record)));
            }
            Op::Truncate(last) => {
                let keep = last.map(|last| last.index);
                self.removals += 1;
                while self.pending.back().is_some_and(|(_, record)| Some(record.at.index) > keep) {
                    self.pending.pop_back();
                }
            }
            Op::Purge(upto) => {
                self.removals += 1;
                self.first = self.first.max(upto.index.saturating_add(1));
                while self.pending.front().is_some_and(|(_, record)| record.at.index <= upto.index) {
                    self.pending.pop_front();
                }
            }
            Op::Vote(_) | Op::Committed(_) => {}
        }
        self.state.apply(op);
    }

    /// The backend has done the operations up to `number`.
    pub fn settle(&mut self, number: u64) {
        while self.pending.front().is_some_and(|(arrives_with, _)| *arrives_with <= number) {
            self.pending.pop_front();
        }
    }

    /// Where the entries of `range` are: in the backend up to some index, pending behind it.
    pub fn plan(&self, range: Range<u64>) -> io::Result<Plan> {
        let end = range.end.min(self.next());
        if range.start >= end {
            return Ok(Plan { removals: self.removals, ..Plan::default() });
        }
        if let Some(purged) = self.state.purged.filter(|purged| range.start <= purged.index) {
            let text = format!("entry {} is purged, as is all up to {}", range.start, purged.index);
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let start = range.start.max(self.first);
        let split = self.pending.front().map_or(self.next(), |(_, record)| record.at.index);
        let stored = start..end.min(split).max(start);
        let skip = stored.end.max(split) - split;
        let pending = self.pending.iter().map(|(_, record)| record).skip(skip as usize);
        let pending = pending.take_while(|record| record.at.index < end).cloned().collect();
        Ok(Plan { stored, pending, removals: self.removals })
    }

    /// The index behind the last entry.
    fn next(&self) -> u64 {
        self.state.last.map_or(0, |last| last.index.saturating_add(1))
    }

    fn is_empty(&self) -> bool {
        self.state.is_empty()
    }

    fn check_append(&self, records: &[Record]) -> io::Result<()> {
        let mut last = self.state.last;
        for Record { at, .. } in records {
            if last.is_some_and(|last| last.index.checked_add(1) != Some(at.index) || at.term < last.term) {
                return Err(refused(format!("append of {at:?} behind {last:?}")));
            }
            last = Some(*at);
        }
        Ok(())
    }

    fn check_vote(&self, vote: Vote) -> io::Result<()> {
        let rank = |vote: Vote| (vote.term, vote.committed);
        match self.state.vote {
            Some(present) if rank(vote) < rank(present) => {
                Err(refused(format!("vote {vote:?} after {present:?}")))
            }
            _ => Ok(()),
        }
    }

    fn check_truncate(&self, last: Option<Position>) -> io::Result<()> {
        let keep = last.map(|last| last.index);
        let LogState { purged, committed, .. } = self.state;
        let is_before = |keep: u64| match purged {
            Some(purged) if keep == purged.index => last != Some(purged),
            _ => keep < self.first,
        };
        if keep.is_some_and(is_before) {
            return Err(refused(format!("truncation after {last:?}, the log begins at {}", self.first)));
        }
        if !self.is_empty() && keep.max(purged.map(|at| at.index)) < committed.map(|at| at.index) {
            return Err(refused(format!("truncation after {last:?}, committed up to {committed:?}")));
        }
        Ok(())
    }

    fn check_purge(&self, upto: Position) -> io::Result<()> {
        match self.state.last {
            Some(last) if upto.index <= last.index && upto.term > last.term => {
                Err(refused(format!("purge up to {upto:?} contradicts the last entry, {last:?}")))
            }
            _ => Ok(()),
        }
    }
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
