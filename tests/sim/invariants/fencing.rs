//! Locks: tokens increase with every grant, no two are sure to hold at once, and a counter that is only
//! added to under guards loses nothing (Burrows, "The Chubby lock service", section 2.4, on sequencers).

use quorate::state::Operation;

use super::replay::Replayed;
use crate::workload::{COUNTER, History, counted};

/// `clocks`: members' clocks kept their bound, on which it rests that a holder knows when it is none any
/// more.
pub fn check(history: &History, replayed: &Replayed, clocks: bool) -> Vec<String> {
    let mut violations = counter(replayed);
    let mut tokens: Vec<_> = history.tokens.iter().collect();
    tokens.sort_by_key(|token| token.granted);
    for pair in tokens.windows(2) {
        let (earlier, later) = (pair[0], pair[1]);
        if earlier.name != later.name {
            continue;
        }
        if later.token <= earlier.token {
            violations.push(format!(
                "fencing: c{} got token {} of {} at {:?}, after c{} got {} at {:?}",
                later.client,
                later.token,
                later.name,
                later.granted,
                earlier.client,
                earlier.token,
                earlier.granted
            ));
        }
        if let Some(until) = earlier.held_until.filter(|until| clocks && *until > later.granted) {
            violations.push(format!(
                "mutual exclusion: c{} was sure of {} until {until:?}, c{} got it at {:?}",
                earlier.client, later.name, later.client, later.granted
            ));
        }
    }
    violations
}

/// Each value that was written follows the one before.
fn counter(replayed: &Replayed) -> Vec<String> {
    let mut violations = Vec::new();
    let mut last = 0;
    for (index, replay) in &replayed.commands {
        let Operation::Put(put) = &replay.command.op else { continue };
        if put.key != COUNTER || !replay.took_effect() {
            continue;
        }
        let (text, count) = (String::from_utf8_lossy(&put.value), counted(&put.value));
        if count != last + 1 {
            violations.push(format!("guards: {text:?} at index {index} follows {last}"));
        }
        last = count;
    }
    violations
}
