//! What the values tell about rows with unknown outcome, before any search.

use std::collections::HashMap;

use super::row::{ABSENT, Make, NEVER, Row, Val, Values};
use crate::check::history::Nanos;

/// Closes open rows whose values were seen, and leaves out those that cannot matter.
///
/// If one open row alone can have made what an answer shows, it took effect by then. If nobody shows what an
/// open row would have made, and no row depends on something *not* being so, then the row can be left out of
/// any order that has it: what follows it there does not ask for what was before.
pub fn tighten<'a>(rows: &mut Vec<Row<'a>>, values: &Values<'a>, initial: &[Val]) {
    if !rows.iter().any(Row::is_open) {
        return;
    }
    let shown = shown(rows, values);
    let makers = makers(rows, values);
    let older = |element: &str| initial.iter().any(|value| values.elements(*value).any(|own| own == element));
    let is_positive = rows.iter().all(|row| row.need.is_positive());
    for row in rows.iter_mut().filter(|row| row.is_open()) {
        let closes = |element: &str| makers.get(element) == Some(&1) && !older(element);
        let seen = elements(row, values).filter(|element| closes(element));
        let by = seen.filter_map(|element| shown.get(element)).min();
        if let Some((ret, by)) = by.filter(|(ret, _)| *ret != NEVER) {
            (row.ret, row.by) = (*ret, Some(*by));
        }
    }
    let matters = |row: &Row<'a>| {
        let made: Vec<&str> = elements(row, values).collect();
        !row.is_open() || made.is_empty() || made.iter().any(|element| shown.contains_key(element))
    };
    if is_positive {
        rows.retain(matters);
    }
    // An order needs the call to come first.
    rows.iter_mut().for_each(|row| row.ret = row.ret.max(row.call));
}

/// What a row puts there.
fn elements<'a, 'r>(row: &'r Row<'a>, values: &'r Values<'a>) -> Box<dyn Iterator<Item = &'a str> + 'r> {
    match &row.make {
        Make::Keep => Box::new(std::iter::empty()),
        Make::Set(value) => Box::new(values.elements(*value)),
        Make::Append(elements) => Box::new(elements.iter().copied()),
    }
}

/// Per element that an answer shows, when the first of those had returned, and whose it was.
fn shown<'a>(rows: &[Row<'a>], values: &Values<'a>) -> HashMap<&'a str, (Nanos, u32)> {
    let mut needed: HashMap<Val, (Nanos, u32)> = HashMap::new();
    for row in rows {
        let this = (row.ret, row.at);
        row.need.values(&mut |value| {
            let first = needed.entry(value).or_insert(this);
            *first = this.min(*first);
        });
    }
    let mut shown: HashMap<&str, (Nanos, u32)> = HashMap::new();
    for (value, this) in needed.into_iter().filter(|(value, _)| *value != ABSENT) {
        for element in values.elements(value) {
            let first = shown.entry(element).or_insert(this);
            *first = this.min(*first);
        }
    }
    shown
}

/// Per element, how many rows may have put it there.
fn makers<'a>(rows: &[Row<'a>], values: &Values<'a>) -> HashMap<&'a str, u32> {
    let mut makers: HashMap<&str, u32> = HashMap::new();
    for row in rows {
        elements(row, values).for_each(|element| *makers.entry(element).or_default() += 1);
    }
    makers
}
