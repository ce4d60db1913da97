//! The smallest history that still has no order.
//!
//! Rows are left out while none is found. Only what proves the point in the whole history too may go: a row
//! that changes nothing; or one that makes something which no other row that stays asks for, while none that
//! stays depends on something not being so. (If the whole had an order, leaving these out of it would leave
//! one.)

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    row::{Make, NEVER, Need, Row, Val, Values},
    search::{Answer, Limits, search},
};
use crate::check::history::Nanos;

/// How long a witness is worked on.
const SHRINK_MAX: Duration = Duration::from_secs(3);

/// One key's rows without an order.
pub struct Stuck<'a, 'b> {
    /// In order of call.
    pub rows: Vec<Row<'a>>,
    /// Their values.
    pub values: &'b mut Values<'a>,
    /// What the key may have held at first.
    pub initial: &'b [Val],
    /// For each search.
    pub limits: Limits,
}

impl<'a> Stuck<'a, '_> {
    /// Leaves out what is not needed; `last` is the row at whose return no order was left.
    pub fn shrink(&mut self, last: usize) {
        self.limits.deadline = Instant::now() + SHRINK_MAX;
        self.cut(self.rows[last].ret);
        self.weaken();
        let mut size = usize::MAX;
        while self.rows.len() < size && Instant::now() < self.limits.deadline {
            size = self.rows.len();
            self.pass(|row| row.is_pure());
            self.pass(|row| !row.is_pure());
        }
    }

    /// Keeps what had returned at the first instant at which there was no order any more: not before `from`.
    fn cut(&mut self, from: Nanos) {
        let all = self.rows.clone();
        let mut ends: Vec<Nanos> =
            all.iter().map(|row| row.ret).filter(|ret| (from..NEVER).contains(ret)).collect();
        ends.sort_unstable();
        // The first guess is often right.
        let (mut low, mut guess, mut high) = (0, 0, ends.len());
        while low < high && Instant::now() < self.limits.deadline {
            if self.accept(prefix(&all, ends[guess])) {
                high = guess;
            } else {
                low = guess + 1;
            }
            guess = (low + high) / 2;
        }
    }

    /// Lets writes take effect whatever was there, where it makes no difference: to ask for less is sound
    /// too, and what depends on something not being so keeps others from being left out.
    fn weaken(&mut self) {
        let mut rows = self.rows.clone();
        let negative = |row: &&mut Row<'_>| !row.is_pure() && !row.need.is_positive();
        rows.iter_mut().filter(negative).for_each(|row| row.need = Need::Any);
        self.accept(rows);
    }

    /// Leaves out chunks of those rows, the large ones first.
    fn pass(&mut self, of: impl Fn(&Row<'_>) -> bool) {
        let mut chunk = self.rows.len().div_ceil(2);
        while chunk > 0 {
            let mut end = self.rows.len();
            while end > 0 && Instant::now() < self.limits.deadline {
                let start = end.saturating_sub(chunk);
                let without = self.without(start..end, &of);
                if without.len() < self.rows.len() {
                    self.accept(without);
                }
                end = start;
            }
            chunk /= 2;
        }
    }

    /// The rows without those of the range that may go.
    fn without(&self, range: std::ops::Range<usize>, of: impl Fn(&Row<'_>) -> bool) -> Vec<Row<'a>> {
        let mut goes: Vec<bool> =
            self.rows.iter().enumerate().map(|(at, row)| range.contains(&at) && of(row)).collect();
        loop {
            let before = goes.iter().filter(|goes| **goes).count();
            let stays = |goes: &[bool]| -> Vec<Row<'a>> {
                let rows = self.rows.iter().zip(goes);
                rows.filter(|(_, goes)| !**goes).map(|(row, _)| row.clone()).collect()
            };
            let rest = stays(&goes);
            let is_positive = rest.iter().all(|row| row.need.is_positive());
            let needed = self.needed(&rest);
            for (row, goes) in self.rows.iter().zip(&mut goes) {
                *goes &= row.is_pure() || (is_positive && !self.is_needed(row, &needed));
            }
            if goes.iter().filter(|goes| **goes).count() == before {
                return rest;
            }
        }
    }

    fn needed(&self, rows: &[Row<'a>]) -> (HashSet<Val>, HashSet<&'a str>) {
        let mut values = HashSet::new();
        for row in rows {
            row.need.values(&mut |value| {
                values.insert(value);
            });
        }
        let elements = values.iter().flat_map(|value| self.values.elements(*value)).collect();
        (values, elements)
    }

    fn is_needed(&self, row: &Row<'a>, (values, elements): &(HashSet<Val>, HashSet<&'a str>)) -> bool {
        match &row.make {
            Make::Keep => false,
            Make::Set(value) => {
                values.contains(value)
                    || self.values.elements(*value).any(|element| elements.contains(element))
            }
            Make::Append(own) => own.iter().any(|element| elements.contains(element)),
        }
    }

    /// Takes these rows instead, if they have no order either.
    fn accept(&mut self, rows: Vec<Row<'a>>) -> bool {
        let limits = self.limits;
        let stuck = self
            .initial
            .iter()
            .all(|initial| matches!(search(&rows, self.values, *initial, limits), Answer::Stuck(_)));
        if stuck {
            self.rows = rows;
        }
        stuck
    }
}

/// What had been called by then; what had not returned may not have been done.
fn prefix<'a>(rows: &[Row<'a>], until: Nanos) -> Vec<Row<'a>> {
    let mut early: Vec<Row<'a>> = rows.iter().filter(|row| row.call <= until).cloned().collect();
    early.iter_mut().filter(|row| row.ret > until && !row.is_pure()).for_each(|row| row.ret = NEVER);
    early.retain(|row| row.ret <= until || !row.is_pure());
    early
}
