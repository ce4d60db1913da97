//! Puts the rows of a history in order, and refuses one that contradicts itself.

use std::collections::HashMap;

use super::Malformed;
use crate::check::history::History;

/// In which line each operation stood, in order of reading.
#[derive(Default)]
pub(super) struct Lines {
    of: Vec<(u64, u32)>,
}

impl Lines {
    /// The operation stood there.
    pub(super) fn add(&mut self, index: u64, line: usize) {
        self.of.push((index, u32::try_from(line).unwrap_or(u32::MAX)));
    }

    fn line(&self, index: u64) -> usize {
        let at = self.of.partition_point(|(other, _)| *other < index);
        self.of.get(at).map_or(0, |(_, line)| *line as usize)
    }

    fn error(&self, index: u64, what: String) -> Malformed {
        Malformed::new(self.line(index), 1, what)
    }
}

/// Sorts the rows as [`History`] says.
///
/// # Errors
/// Two operations have one index, or a process does two things at once.
pub(super) fn finish(history: &mut History, mut lines: Lines) -> Result<(), Malformed> {
    history.operations.sort_unstable_by_key(|operation| (operation.call, operation.index));
    history.deliveries.sort_by_key(|delivery| delivery.at);
    history.faults.sort_by_key(|fault| fault.from);
    history.leaders.sort_by_key(|seen| seen.at);
    lines.of.sort_unstable();
    unique(&lines)?;
    one_at_a_time(history, &lines)
}

fn unique(lines: &Lines) -> Result<(), Malformed> {
    match lines.of.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(()),
        Some(pair) => {
            let ((index, first), (_, second)) = (pair[0], pair[1]);
            let what = format!("expected an index of its own, found {index}, as in line {first}");
            Err(Malformed::new(second as usize, 1, what))
        }
    }
}

fn one_at_a_time(history: &History, lines: &Lines) -> Result<(), Malformed> {
    let mut last: HashMap<u64, (u64, u64)> = HashMap::new();
    for operation in &history.operations {
        let now = (operation.index, operation.ret);
        let Some((before, ret)) = last.insert(operation.process, now) else { continue };
        if operation.call < ret {
            let (process, call, line) = (operation.process, operation.call, lines.line(before));
            let what = format!(
                "process {process} does one thing at a time: expected a call at {ret} or later, after its \
                 operation {before} (line {line}) has ended, found a call at {call}"
            );
            return Err(lines.error(operation.index, what));
        }
    }
    Ok(())
}
