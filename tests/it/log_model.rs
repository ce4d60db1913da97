//! All log stores against a model that is too simple to be wrong: random calls, in any order, with reopening.

use proptest::prelude::*;
use quorate::log::{LogState, Position, RaftLog, Vote};

use crate::log_contract::{Store, at, record, wait};

/// A call, with its position relative to what the log holds.
#[derive(Clone, Copy, Debug)]
enum Call {
    Append { entries: u64, new_term: bool },
    Truncate { back: u64 },
    Purge { ahead: u64 },
    Commit { back: u64 },
    Vote,
    Reopen,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => (1..6u64, any::<bool>()).prop_map(|(entries, new_term)| Call::Append { entries, new_term }),
        2 => (0..8u64).prop_map(|back| Call::Truncate { back }),
        1 => (0..8u64).prop_map(|ahead| Call::Purge { ahead }),
        1 => (0..8u64).prop_map(|back| Call::Commit { back }),
        1 => Just(Call::Vote),
        1 => Just(Call::Reopen),
    ]
}

#[derive(Clone, Debug, Default)]
struct Model {
    entries: Vec<Position>,
    state: LogState,
    term: u64,
}

impl Model {
    fn next(&self) -> u64 {
        self.state.last.map_or(0, |last| last.index + 1)
    }

    /// The term of an entry that is there, or of the purged position.
    fn at(&self, index: u64) -> Option<Position> {
        let purged = self.state.purged.filter(|at| at.index == index);
        self.entries.iter().copied().find(|at| at.index == index).or(purged)
    }

    fn refresh_last(&mut self) {
        self.state.last = self.entries.last().copied().or(self.state.purged);
    }

    /// Does a call on both sides. Calls that make no sense in this state are left out.
    fn step(&mut self, call: Call, log: &dyn RaftLog) {
        match call {
            Call::Append { entries, new_term } => {
                self.term += u64::from(new_term);
                let next = self.next();
                let records: Vec<_> = (next..next + entries).map(|index| record(self.term, index)).collect();
                self.entries.extend(records.iter().map(|record| record.at));
                wait(|done| log.append(records, done)).unwrap();
            }
            Call::Truncate { back } => {
                let keep = self.next().checked_sub(back + 1).and_then(|index| self.at(index));
                if keep.map(|at| at.index) < self.state.committed.map(|at| at.index) || keep.is_none() {
                    return;
                }
                log.truncate_after(keep).unwrap();
                self.entries.retain(|at| Some(at.index) <= keep.map(|at| at.index));
                // Whoever replaces entries has a later term.
                self.term += 1;
            }
            Call::Purge { ahead } => {
                let index = self.state.purged.map_or(0, |purged| purged.index + 1) + ahead;
                let upto = self.at(index).unwrap_or(at(self.term, index));
                log.purge(upto).unwrap();
                self.state.purged = Some(upto);
                self.entries.retain(|at| at.index > index);
            }
            Call::Commit { back } => {
                if let Some(committed) = self.next().checked_sub(back + 1).and_then(|index| self.at(index)) {
                    log.save_committed(committed).unwrap();
                    self.state.committed = self.state.committed.max(Some(committed));
                }
            }
            Call::Vote => {
                self.state.vote = Some(Vote { term: self.term, node_id: self.next(), committed: true });
                wait(|done| log.save_vote(self.state.vote.unwrap(), done)).unwrap();
            }
            Call::Reopen => {}
        }
        self.refresh_last();
    }

    fn check(&self, log: &dyn RaftLog, after: Call) {
        assert_eq!(log.state(), self.state, "after {after:?}");
        let first = self.entries.first().map_or(self.next(), |at| at.index);
        let found = log.read(first..u64::MAX, usize::MAX).unwrap();
        let expected: Vec<_> = self.entries.iter().map(|at| record(at.term, at.index)).collect();
        assert_eq!(found, expected, "after {after:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn stores_agree_with_a_simple_model(calls in prop::collection::vec(call(), 1..40)) {
        for store in Store::all() {
            let mut model = Model::default();
            let mut log = store.open();
            for call in &calls {
                model.step(*call, &*log);
                if let Call::Reopen = call {
                    log.close().unwrap();
                    drop(log);
                    log = store.open();
                }
                model.check(&*log, *call);
            }
        }
    }
}
