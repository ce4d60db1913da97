//! Why there is no order, in words.

use super::row::{ABSENT, Make, Need, Row, Values};
use crate::check::index::Index;

/// Name and reason of what a few rows of one key show.
pub fn words(
    index: &Index<'_>,
    name: &str,
    (rows, values): (&[Row<'_>], &Values<'_>),
) -> (&'static str, String) {
    let reads = || rows.iter().filter_map(|row| needed(row).map(|value| (row, value)));
    let unwritten = reads().find_map(|(row, value)| nobody(rows, (row, value)));
    let patterns = unwritten.map(|value| {
        ("phantom-read", format!("{} of {name:?} was seen, and nothing wrote it", values.text(value)))
    });
    patterns
        .or_else(|| reads().find_map(|read| future(name, (rows, values), read)))
        .or_else(|| reads().find_map(|read| stale(name, (rows, values), read)))
        .or_else(|| lost(name, (rows, values)))
        .unwrap_or_else(|| {
            let last = rows.iter().filter(|row| !row.is_open()).max_by_key(|row| row.ret);
            let last = last.map_or(0, |row| index.history.operations[row.at as usize].index);
            let why = format!(
                "no order of these operations on {name:?} respects real time and explains what was answered \
                 up to the end of operation {last}"
            );
            ("non-linearizable", why)
        })
}

/// The value that the row found.
fn needed(row: &Row<'_>) -> Option<u32> {
    match &row.need {
        Need::Is(value) => Some(*value),
        _ => None,
    }
}

fn makes(row: &Row<'_>, value: u32) -> bool {
    row.make == Make::Set(value) || matches!(row.make, Make::Append(_))
}

fn nobody(rows: &[Row<'_>], (read, value): (&Row<'_>, u32)) -> Option<u32> {
    let others = rows.iter().filter(|row| row.at != read.at);
    (value != ABSENT && !others.into_iter().any(|row| makes(row, value))).then_some(value)
}

fn future(
    name: &str,
    (rows, values): (&[Row<'_>], &Values<'_>),
    (read, value): (&Row<'_>, u32),
) -> Option<(&'static str, String)> {
    if value == ABSENT || rows.iter().any(|row| makes(row, value) && row.call <= read.ret) {
        return None;
    }
    let value = values.text(value);
    Some(("future-read", format!("{value} of {name:?} was seen before its write was called")))
}

/// What was found had been replaced before the read began, and nobody put it back.
fn stale(
    name: &str,
    (rows, values): (&[Row<'_>], &Values<'_>),
    (read, value): (&Row<'_>, u32),
) -> Option<(&'static str, String)> {
    let makers = || rows.iter().filter(|row| makes(row, value) && row.at != read.at);
    let replaces = |row: &&Row<'_>| {
        !row.is_pure()
            && !makes(row, value)
            && row.ret < read.call
            && makers().all(|maker| maker.ret < row.call)
    };
    let newer = rows.iter().filter(replaces).max_by_key(|row| row.ret)?;
    let ms = (read.call - newer.ret) as f64 / 1e6;
    let made = match &newer.make {
        Make::Set(ABSENT) => format!("the delete of {name:?}"),
        Make::Set(value) => format!("the write of {} to {name:?}", values.text(*value)),
        _ => format!("the append to {name:?}"),
    };
    let seen = values.text(value);
    let back = if value == ABSENT { "nothing deleted it" } else { "nothing wrote that again" };
    let why =
        format!("{seen} was seen by an operation called {ms:.3} ms after {made} was acknowledged; {back}");
    let anomaly = if read.is_pure() { "stale-read" } else { "lost-update" };
    Some((anomaly, why))
}

/// Two updates of the same state, which was made once.
fn lost(name: &str, (rows, values): (&[Row<'_>], &Values<'_>)) -> Option<(&'static str, String)> {
    let updates = |row: &&Row<'_>| !row.is_pure() && !row.is_open() && needed(row).is_some();
    for (at, one) in rows.iter().enumerate().filter(|(_, row)| updates(row)) {
        let value = needed(one)?;
        let again = rows[at + 1..].iter().find(|row| updates(row) && needed(row) == Some(value));
        let made = rows.iter().filter(|row| makes(row, value)).count() + usize::from(value == ABSENT);
        if again.is_some() && made <= 1 {
            let seen = values.text(value);
            return Some((
                "lost-update",
                format!("two operations replaced {seen} of {name:?}, which was there once"),
            ));
        }
    }
    None
}
