//! Texts that are held once.

use std::collections::HashSet;

use crate::check::history::Text;

/// The texts that a reader has seen. It lives as long as the reading does.
#[derive(Default)]
pub(super) struct Texts {
    seen: HashSet<Text>,
}

impl Texts {
    /// The text, shared with all that are equal to it.
    pub(super) fn get(&mut self, text: &str) -> Text {
        if let Some(known) = self.seen.get(text) {
            return known.clone();
        }
        let new = Text::from(text);
        self.seen.insert(new.clone());
        new
    }
}

/// Names in a row, for a message: `a, b or c`.
pub(super) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [head @ .., last] => format!("one of {} or {last}", head.join(", ")),
    }
}
