//! What a key holds during the replay.

use crate::check::{
    effect,
    history::{Found, Text},
};
use crate::types::Revision;

/// A key at a revision.
#[derive(Clone, Debug, Default)]
pub struct State<'a> {
    /// Its value; `None`: it does not exist.
    pub value: Option<Value<'a>>,
    /// The revision that last changed it; 0: not known, or never.
    pub modified: Revision,
    /// The revision that created it.
    pub created: Revision,
    /// How often it was set since.
    pub version: u64,
    /// The last revision at which it was seen so, or was made so.
    pub confirmed: Revision,
    /// Whether `created` and `version` can be told.
    pub counted: bool,
    /// Whether anything can be told.
    pub known: bool,
    /// Whether it goes with a lease.
    pub attached: bool,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// As it was written.
    Text(&'a str),
    /// As it was put together.
    List(Vec<&'a str>),
}

impl<'a> Value<'a> {
    /// Whether this is the text in the store.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Value::Text(own) => *own == text,
            Value::List(own) => own.iter().copied().eq(effect::elements(text)),
        }
    }

    /// Whether this is the list.
    pub fn is_list(&self, list: &[Text]) -> bool {
        match self {
            Value::Text(own) => effect::elements(own).eq(list.iter().map(|element| &**element)),
            Value::List(own) => own.iter().copied().eq(list.iter().map(|element| &**element)),
        }
    }

    /// With an element more.
    pub fn push(&mut self, element: &'a str) {
        if let Value::Text(own) = self {
            *self = Value::List(effect::elements(own).collect());
        }
        if let Value::List(own) = self {
            own.push(element);
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        match self {
            Value::Text(own) => format!("{own:?}"),
            Value::List(own) => format!("{:?}", own.join(" ")),
        }
    }
}

impl<'a> State<'a> {
    /// A key that does not exist.
    pub fn absent() -> Self {
        State { counted: true, known: true, ..State::default() }
    }

    /// Set at a revision. One revision may set a key several times.
    pub fn set(&mut self, value: Value<'a>, revision: Revision) {
        if self.value.is_none() && self.known {
            (self.created, self.version, self.counted) = (revision, 0, true);
        }
        // One revision counts once, whatever number of steps it takes.
        if self.modified != revision || self.version == 0 {
            self.version += 1;
        }
        self.value = Some(value);
        self.modified = revision;
        self.confirmed = revision;
        self.known = true;
        self.attached = false;
    }

    /// Whether this revision last changed it, as far as that is known.
    fn is_of(&self, revision: Revision) -> bool {
        self.modified == 0 || self.modified == revision
    }

    /// Gone at a revision.
    pub fn delete(&mut self, revision: Revision) {
        *self = State { modified: revision, confirmed: revision, ..State::absent() };
    }

    /// For people.
    pub fn text(&self) -> String {
        match &self.value {
            None => "nothing".to_owned(),
            Some(value) => format!("{} (revision {})", value.text(), self.modified),
        }
    }
}

/// What an answer says about a key.
#[derive(Clone, Copy, Debug)]
pub enum Claim<'a> {
    /// It did not exist.
    Absent,
    /// It existed.
    Present,
    /// It was found so.
    Found(&'a Found),
    /// It had this value.
    Value(&'a str),
    /// It was this list; one that does not exist is empty.
    List(&'a [Text]),
    /// It was last changed at this revision.
    Modified(Revision),
}

impl Claim<'_> {
    /// Whether value and revision are those of the state; of a found key, creation and version come later.
    pub fn holds(&self, state: &State<'_>) -> bool {
        match (self, &state.value) {
            (Claim::Absent, value) => value.is_none(),
            (Claim::List([]), None) => true,
            (_, None) => false,
            (Claim::Present, Some(_)) => true,
            (Claim::Found(found), Some(value)) => {
                value.is(&found.value) && (found.mod_revision == 0 || state.is_of(found.mod_revision))
            }
            (Claim::Value(text), Some(value)) => value.is(text),
            (Claim::List(list), Some(value)) => value.is_list(list),
            (Claim::Modified(revision), Some(_)) => state.is_of(*revision),
        }
    }

    /// The revision that it names.
    pub fn modified(&self) -> Revision {
        match self {
            Claim::Found(found) => found.mod_revision,
            Claim::Modified(revision) => *revision,
            _ => 0,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        match self {
            Claim::Absent => "nothing".to_owned(),
            Claim::Present => "something".to_owned(),
            Claim::Found(found) if found.mod_revision > 0 => {
                format!("{:?} (revision {})", found.value, found.mod_revision)
            }
            Claim::Found(found) => format!("{:?}", found.value),
            Claim::Value(text) => format!("{text:?}"),
            Claim::List(list) => format!("{list:?}"),
            Claim::Modified(revision) => format!("a change at revision {revision}"),
        }
    }
}
