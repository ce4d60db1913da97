//! Whether the order by revision respects real time.
//!
//! Nothing may stand behind an operation that was called after it had been answered. Walking in order, the
//! latest call so far is all that has to be known.

use super::{
    TIER,
    place::{Kind, Place, Places},
};
use crate::check::{
    history::{Nanos, Operation},
    index::Index,
    verdict::{Findings, Violation},
};

/// The latest call so far, and whose it was.
#[derive(Clone, Copy, Default)]
struct Latest {
    call: Nanos,
    place: Option<Place>,
}

impl Latest {
    fn add(&mut self, operation: &Operation, place: Place) {
        if self.place.is_none() || operation.call > self.call {
            *self = Latest { call: operation.call, place: Some(place) };
        }
    }
}

/// Reports operations that stand behind one that began after they had ended. Reads that do not promise real
/// time need only stand behind writes that had begun.
pub fn check(index: &Index<'_>, places: &Places<'_>, findings: &mut Findings) {
    let (mut all, mut writes) = (Latest::default(), Latest::default());
    let mut blamed = None;
    for group in places.order.chunk_by(|left, right| left.revision == right.revision) {
        let mut next = all;
        for place in group {
            let operation = &index.history.operations[place.at as usize];
            let is_real_time = index.is_real_time(operation);
            let before = if is_real_time { all } else { writes };
            if operation.is_ok() && before.place.is_some() && before.call > operation.ret {
                if before.place != blamed {
                    findings.violated(violation(index, (before, *place)));
                }
                blamed = before.place;
            }
            if place.kind == Kind::Made {
                writes.add(operation, *place);
                all.add(operation, *place);
            }
            if is_real_time {
                next.add(operation, *place);
            }
        }
        all = next;
    }
}

fn violation(index: &Index<'_>, (before, place): (Latest, Place)) -> Violation {
    let operations = &index.history.operations;
    let operation = &operations[place.at as usize];
    let first = before.place.unwrap_or(place);
    let ms = (before.call - operation.ret) as f64 / 1e6;
    let (anomaly, why, reader) = match (first.kind, place.kind) {
        (Kind::Saw, kind) => {
            let what = if kind == Kind::Made { "made" } else { "seen" };
            let why = format!(
                "it was answered as of revision {}, though revision {} had been {what} and acknowledged \
                 {ms:.3} ms before it was called",
                first.revision, place.revision
            );
            ("stale-read", why, first)
        }
        (Kind::Made, Kind::Saw) => {
            let why = format!(
                "it was answered as of revision {}, {ms:.3} ms before the write that made revision {} was \
                 called",
                place.revision, first.revision
            );
            ("future-read", why, place)
        }
        (Kind::Made, Kind::Made) => {
            let why = format!(
                "it made revision {}, though the write that made revision {} was acknowledged {ms:.3} ms \
                 before it was called",
                first.revision, place.revision
            );
            ("write-order", why, first)
        }
    };
    let other = if reader == first { place } else { first };
    let witness = [reader, other].map(|place| operations[place.at as usize].index).to_vec();
    let level = operations[reader.at as usize].level.map(|level| level.name());
    Violation { tier: TIER, anomaly, level, why, operations: witness }
}
