//! What operations say about one key.

use std::collections::{HashMap, HashSet};

use crate::check::{effect, history::Nanos};

/// A value of the key: its number. [`ABSENT`]: the key does not exist.
pub type Val = u32;

/// The key does not exist; for a list, the same as empty.
pub const ABSENT: Val = 0;

/// The return of what may take effect at any time, or never.
pub const NEVER: Nanos = Nanos::MAX;

/// One operation, as far as it concerns the key.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// Its place in the history.
    pub at: u32,
    /// When it was called.
    pub call: Nanos,
    /// By when it took effect; [`NEVER`]: perhaps it did not.
    pub ret: Nanos,
    /// The place of another operation that shows that it took effect.
    pub by: Option<u32>,
    /// When it can take effect.
    pub need: Need,
    /// What it does then.
    pub make: Make<'a>,
}

/// What must hold of the key's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// Nothing.
    Any,
    /// It is this one.
    Is(Val),
    /// There is one.
    Exists,
    /// Nothing can hold: the operation contradicts itself.
    Never,
    /// All of these.
    All(Vec<Need>),
    /// Not all of these.
    NotAll(Vec<Need>),
}

/// What becomes of the key's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Make<'a> {
    /// It stays.
    Keep,
    /// It is this one.
    Set(Val),
    /// These elements are added.
    Append(Vec<&'a str>),
}

impl<'a> Row<'a> {
    /// Whether it changes nothing.
    pub fn is_pure(&self) -> bool {
        self.make == Make::Keep
    }

    /// The elements that it adds to a list.
    pub fn added(&self) -> &[&'a str] {
        match &self.make {
            Make::Append(elements) => elements,
            _ => &[],
        }
    }

    /// Whether it may have taken no effect.
    pub fn is_open(&self) -> bool {
        self.ret == NEVER
    }
}

impl Need {
    /// Whether it holds.
    pub fn holds(&self, value: Val) -> bool {
        match self {
            Need::Any => true,
            Need::Is(own) => *own == value,
            Need::Exists => value != ABSENT,
            Need::Never => false,
            Need::All(needs) => needs.iter().all(|need| need.holds(value)),
            Need::NotAll(needs) => !needs.iter().all(|need| need.holds(value)),
        }
    }

    /// Whether it asks for nothing but certain values: then a write whose value nobody asks for may be left
    /// out of any order.
    pub fn is_positive(&self) -> bool {
        match self {
            Need::Any | Need::Is(_) | Need::Never => true,
            Need::Exists | Need::NotAll(_) => false,
            Need::All(needs) => needs.iter().all(Need::is_positive),
        }
    }

    /// Tells the values that must be there.
    pub fn values(&self, tell: &mut impl FnMut(Val)) {
        match self {
            Need::Is(value) => tell(*value),
            Need::All(needs) => needs.iter().for_each(|need| need.values(tell)),
            _ => {}
        }
    }

    /// Both.
    pub fn and(self, other: Need) -> Need {
        match (self, other) {
            (Need::Any, need) | (need, Need::Any) => need,
            (Need::All(mut needs), need) => {
                needs.push(need);
                Need::All(needs)
            }
            (one, other) => Need::All(vec![one, other]),
        }
    }
}

/// The values of one key, numbered. A value is a chain of elements: a list has any number, any other value
/// one.
#[derive(Debug, Default)]
pub struct Values<'a> {
    is_list: bool,
    next: HashMap<(Val, &'a str), Val>,
    /// Per value but the first: what it is longer than, and by which element.
    last: Vec<(Val, &'a str)>,
}

impl<'a> Values<'a> {
    /// None yet but [`ABSENT`].
    pub fn new(is_list: bool) -> Self {
        Values { is_list, ..Values::default() }
    }

    /// The value with an element more.
    pub fn push(&mut self, value: Val, element: &'a str) -> Val {
        *self.next.entry((value, element)).or_insert_with(|| {
            self.last.push((value, element));
            self.last.len() as Val
        })
    }

    /// The value that is stored as this text.
    pub fn of_text(&mut self, text: &'a str) -> Val {
        match self.is_list {
            true => self.of_list(effect::elements(text)),
            false => self.push(ABSENT, text),
        }
    }

    /// The list.
    pub fn of_list(&mut self, elements: impl Iterator<Item = &'a str>) -> Val {
        elements.fold(ABSENT, |list, element| self.push(list, element))
    }

    /// The value's elements, the last first.
    pub fn elements(&self, mut value: Val) -> impl Iterator<Item = &'a str> {
        std::iter::from_fn(move || {
            let (before, element) = *self.last.get((value as usize).checked_sub(1)?)?;
            value = before;
            Some(element)
        })
    }

    /// What the value was before its last element, if that is this one.
    pub fn pop(&self, value: Val, element: &str) -> Option<Val> {
        let (before, last) = *self.last.get((value as usize).checked_sub(1)?)?;
        (last == element).then_some(before)
    }

    /// The value before these elements at its end.
    pub fn without_end(&self, mut value: Val, ends: &HashSet<&str>) -> Val {
        while let Some((before, last)) = (value as usize).checked_sub(1).and_then(|at| self.last.get(at))
            && ends.contains(last)
        {
            value = *before;
        }
        value
    }

    /// What becomes of the value, if the row can take effect.
    pub fn step(&mut self, value: Val, row: &Row<'a>) -> Option<Val> {
        if !row.need.holds(value) {
            return None;
        }
        Some(match &row.make {
            Make::Keep => value,
            Make::Set(value) => *value,
            Make::Append(elements) => elements.iter().fold(value, |list, element| self.push(list, element)),
        })
    }

    /// For people.
    pub fn text(&self, value: Val) -> String {
        if value == ABSENT {
            return "nothing".to_owned();
        }
        let mut elements: Vec<&str> = self.elements(value).collect();
        elements.reverse();
        format!("{:?}", elements.join(" "))
    }
}
