//! Lines to rows to a history.

use std::io::{BufRead, Read};

use serde::Deserialize;

use super::{
    VERSION,
    position::{fields, token_start, value_start},
    row::{DeliveryRow, FaultRow, FinalRow, LeaderRow, OperationRow},
};
use crate::check::{
    format::{
        Malformed, ROW_BYTES_MAX, ReadError,
        order::{self, Lines},
        text::Texts,
    },
    history::{About, History},
};

mod action;
mod delivery;
mod operation;

/// What does not fit about a row whose JSON is right.
struct Wrong {
    /// The field, if it is one that is there.
    field: &'static str,
    what: String,
}

impl Wrong {
    fn new(field: &'static str, what: impl Into<String>) -> Wrong {
        Wrong { field, what: what.into() }
    }
}

/// Reads a history to its end.
///
/// # Errors
/// It cannot be read, or is none: where, and what was expected.
pub fn read(mut input: impl BufRead) -> Result<History, ReadError> {
    let mut reader = Reader::default();
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        let limit = u64::try_from(ROW_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() > ROW_BYTES_MAX {
            let what = format!("expected a line of at most {ROW_BYTES_MAX} bytes");
            return Err(Malformed::new(number, ROW_BYTES_MAX, what).into());
        }
        let line = line.trim_ascii_end();
        let found = if number == 1 { reader.about(line) } else { reader.row(line, number) };
        found.map_err(|(column, what)| Malformed::new(number, column, what))?;
    }
    if number == 1 {
        return Err(Malformed::new(1, 1, format!("expected {EXPECTED_FIRST}, found nothing")).into());
    }
    let Reader { mut history, lines, .. } = reader;
    order::finish(&mut history, lines)?;
    Ok(history)
}

const EXPECTED_FIRST: &str = "a first line with \"quorate_history\": 1";

/// The column of a mistake, from 1, and what was expected.
type At = (usize, String);

#[derive(Default)]
struct Reader {
    history: History,
    texts: Texts,
    lines: Lines,
}

impl Reader {
    fn about(&mut self, line: &[u8]) -> Result<(), At> {
        if value_start(line, "quorate_history") == 1 {
            return Err((1, format!("expected {EXPECTED_FIRST}")));
        }
        self.history.about = parse::<About>(line)?;
        let version = self.history.about.quorate_history;
        if version == VERSION {
            return Ok(());
        }
        Err((value_start(line, "quorate_history"), format!("expected version {VERSION}, found {version}")))
    }

    fn row(&mut self, line: &[u8], number: usize) -> Result<(), At> {
        if line.is_empty() {
            return Ok(());
        }
        match kind(line) {
            Kind::Operation => {
                let row: OperationRow = parse(line)?;
                let operation =
                    operation::operation(row, &mut self.texts).map_err(|wrong| at(&wrong, line))?;
                self.lines.add(operation.index, number);
                self.history.operations.push(operation);
            }
            Kind::Delivery => {
                let row: DeliveryRow = parse(line)?;
                let delivery = delivery::delivery(row, &mut self.texts).map_err(|wrong| at(&wrong, line))?;
                self.history.deliveries.push(delivery);
            }
            Kind::Fault => {
                let fault = parse::<FaultRow>(line)?.fault;
                if fault.to.is_some_and(|to| to < fault.from) {
                    return Err((value_start(line, "fault"), "expected `to` not before `from`".to_owned()));
                }
                self.history.faults.push(fault);
            }
            Kind::Leader => self.history.leaders.push(parse::<LeaderRow>(line)?.leader),
            Kind::Final => self.history.finals.push(parse::<FinalRow>(line)?.state),
        }
        Ok(())
    }
}

/// Kinds of rows.
#[derive(Clone, Copy)]
enum Kind {
    Operation,
    Delivery,
    Fault,
    Leader,
    Final,
}

/// What kind of row a line is, by the names of its fields.
fn kind(line: &[u8]) -> Kind {
    if line.starts_with(b"{\"index\":") {
        return Kind::Operation;
    }
    let kind = |(name, _): (&[u8], usize)| match name {
        b"watch" => Some(Kind::Delivery),
        b"fault" => Some(Kind::Fault),
        b"leader" => Some(Kind::Leader),
        b"final" => Some(Kind::Final),
        _ => None,
    };
    fields(line).find_map(kind).unwrap_or(Kind::Operation)
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, At> {
    serde_json::from_slice(line).map_err(|error| {
        let said = error.to_string();
        let what = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
        let column = if error.is_data() { token_start(line, error.column()) } else { error.column().max(1) };
        (column, what.replace('`', "\""))
    })
}

fn at(wrong: &Wrong, line: &[u8]) -> At {
    (value_start(line, wrong.field), wrong.what.clone())
}
