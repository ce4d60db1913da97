//! Numbers in little room: a column holds one field of all operations.

use serde::{Serialize, Serializer, ser::SerializeMap};

/// The digits of a column of small numbers, by value. None of them needs an escape in JSON or HTML.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// One field of many rows, in the shortest of three forms: a text with one digit each (all below 64), the
/// differences `{"d": […]}` from one to the next, or the numbers themselves.
#[derive(Debug, PartialEq, Eq)]
pub enum Column {
    /// One digit of base 64 each.
    Small(String),
    /// Each as the difference from the one before; the first from 0.
    Delta(Vec<i64>),
    /// As they are.
    Plain(Vec<u64>),
}

impl Column {
    /// The shortest form.
    pub fn new(values: Vec<u64>) -> Column {
        let digit = |value: &u64| DIGITS.get(usize::try_from(*value).ok()?).map(|digit| char::from(*digit));
        if let Some(text) = values.iter().map(digit).collect::<Option<String>>() {
            return Column::Small(text);
        }
        let mut before = 0;
        let delta = |value: &u64| value.wrapping_sub(std::mem::replace(&mut before, *value)).cast_signed();
        let deltas: Vec<i64> = values.iter().map(delta).collect();
        let plain: usize = values.iter().map(|value| width(*value)).sum();
        let sign = |value: i64| usize::from(value < 0);
        let short: usize = deltas.iter().map(|value| width(value.unsigned_abs()) + sign(*value)).sum();
        if short < plain { Column::Delta(deltas) } else { Column::Plain(values) }
    }
}

/// Decimal digits.
fn width(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

impl FromIterator<u64> for Column {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Column {
        Column::new(values.into_iter().collect())
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Column::Small(text) => to.serialize_str(text),
            Column::Plain(values) => to.collect_seq(values),
            Column::Delta(values) => {
                let mut map = to.serialize_map(Some(1))?;
                map.serialize_entry("d", values)?;
                map.end()
            }
        }
    }
}

/// Texts that are named by their place: each is held once.
#[derive(Debug, Default)]
pub struct Texts {
    places: std::collections::HashMap<String, u64>,
    texts: Vec<String>,
}

impl Texts {
    /// The text's place.
    pub fn place(&mut self, text: &str) -> u64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.texts.len() as u64;
        self.places.insert(text.to_owned(), place);
        self.texts.push(text.to_owned());
        place
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.texts.serialize(to)
    }
}
