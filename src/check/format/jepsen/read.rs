//! EDN to a history.

use std::{collections::HashMap, io::BufRead};

use super::{REGISTER, SET, nemesis::Nemesis, value::text_of};
use crate::check::{
    format::{
        Malformed, ReadError,
        edn::{Edn, Node, Reader},
        order::{self, Lines},
        text::{Texts, one_of},
    },
    history::{About, Action, Found, History, Nanos, Operation, Outcome, Step, Text},
};

/// Reads a history to its end.
///
/// # Errors
/// It cannot be read, or is none: where, and what was expected.
pub fn read(input: impl BufRead) -> Result<History, ReadError> {
    let mut reader = Reader::new(input);
    let mut calls = Calls::default();
    let is_vector = reader.open()?;
    while !(is_vector && reader.close()?) {
        match reader.form()? {
            Some(form) => calls.row(form)?,
            None if is_vector => return Err(reader.error("expected \"]\", found the end")),
            None => break,
        }
    }
    if reader.form()?.is_some() {
        return Err(reader.error("expected the end after the vector"));
    }
    calls.end().map_err(ReadError::from)
}

/// A call and what came of it.
struct Call {
    index: u64,
    process: u64,
    line: usize,
    call: Nanos,
    f: Node,
    /// What was asked.
    value: Node,
    end: Option<End>,
}

struct End {
    at: Nanos,
    is: EndType,
    value: Node,
    error: String,
}

#[derive(Clone, Copy, PartialEq)]
enum EndType {
    Ok,
    Fail,
    Info,
}

#[derive(Default)]
struct Calls {
    calls: Vec<Call>,
    /// The last call of each process, by place.
    last: HashMap<u64, usize>,
    nemesis: Nemesis,
    rows: u64,
    now: Nanos,
}

const TYPES: [&str; 4] = ["invoke", "ok", "fail", "info"];

impl Calls {
    fn row(&mut self, form: Node) -> Result<(), Malformed> {
        let form = untagged(form);
        if !matches!(form.edn, Edn::Map(_)) {
            return Err(form.error("expected a map {:process … :type … :f … :value …}"));
        }
        let field = |name: &str| form.get(name).ok_or_else(|| form.error(format!("expected a key :{name}")));
        self.now = match form.get("time").map(|time| (&time.edn, time)) {
            None | Some((Edn::Nil, _)) => self.now + 1,
            Some((Edn::Int(time), node)) => {
                let time = Nanos::try_from(*time).map_err(|_| node.error("expected a time of 0 or more"))?;
                time.max(self.now.saturating_add(1))
            }
            Some((_, node)) => return Err(node.error("expected a time in nanoseconds")),
        };
        self.rows += 1;
        let process = field("process")?;
        let kind = field("type")?;
        let (line, column) = (form.line, form.column);
        let value = form.get("value").cloned().unwrap_or(Node { line, column, edn: Edn::Nil });
        match &process.edn {
            Edn::Keyword(_) => {
                self.nemesis.did(&name_of(field("f")?)?, &value.edn, self.now);
                Ok(())
            }
            Edn::Int(number) => {
                let number =
                    u64::try_from(*number).map_err(|_| process.error("expected a process of 0 or more"))?;
                match name_of(kind)?.as_str() {
                    "invoke" => self.invoke(&form, (number, field("f")?), value),
                    "ok" => self.end_call(&form, (number, EndType::Ok), value),
                    "fail" => self.end_call(&form, (number, EndType::Fail), value),
                    "info" => self.end_call(&form, (number, EndType::Info), value),
                    other => Err(kind.error(format!("expected {}, found \"{other}\"", one_of(&TYPES)))),
                }
            }
            _ => Err(process.error("expected a process: a number, or :nemesis")),
        }
    }

    fn invoke(&mut self, form: &Node, (process, f): (u64, &Node), value: Node) -> Result<(), Malformed> {
        if let Some(last) = self.last.get(&process).map(|last| &self.calls[*last]) {
            let line = last.line;
            let what = match &last.end {
                None => format!("process {process} calls, but its call of line {line} is still open"),
                Some(End { is: EndType::Info, .. }) => {
                    format!(
                        "process {process} calls again, but what came of its call of line {line} is unknown"
                    )
                }
                Some(_) => String::new(),
            };
            if !what.is_empty() {
                return Err(form.error(format!("expected another process: {what}")));
            }
        }
        let index = match form.get("index").map(|index| (&index.edn, index)) {
            None | Some((Edn::Nil, _)) => self.rows - 1,
            Some((Edn::Int(index), node)) => {
                u64::try_from(*index).map_err(|_| node.error("expected an index of 0 or more"))?
            }
            Some((_, node)) => return Err(node.error("expected an index: a number")),
        };
        self.last.insert(process, self.calls.len());
        let (line, call, f) = (form.line, self.now, f.clone());
        self.calls.push(Call { index, process, line, call, f, value, end: None });
        Ok(())
    }

    fn end_call(&mut self, form: &Node, (process, is): (u64, EndType), value: Node) -> Result<(), Malformed> {
        let open = self.last.get(&process).map(|last| &mut self.calls[*last]);
        let Some(open) = open.filter(|call| call.end.is_none()) else {
            return Err(form.error(format!("expected a call of process {process} before its end")));
        };
        if let Some(f) = form.get("f")
            && *f != open.f
        {
            let called = name_of(&open.f)?;
            return Err(f.error(format!("expected :{called}, as in the call of line {}", open.line)));
        }
        let error = form.get("error").filter(|error| error.edn != Edn::Nil);
        let error = error.map(|error| text_of(&error.edn)).unwrap_or_default();
        open.end = Some(End { at: self.now, is, value, error });
        Ok(())
    }

    fn end(self) -> Result<History, Malformed> {
        let is_f = |call: &Call, name: &str| matches!(&call.f.edn, Edn::Keyword(f) if f == name);
        let mut rows = Rows {
            texts: Texts::default(),
            is_set: self.calls.iter().any(|call| is_f(call, "add")),
            has_lists: self.calls.iter().any(|call| has_append(&call.value)),
            now: self.now,
        };
        let mut lines = Lines::default();
        let mut history = History { faults: self.nemesis.end(), ..History::default() };
        history.about = About {
            quorate_history: 1,
            title: "a Jepsen history".into(),
            complete: true,
            ..About::default()
        };
        for call in self.calls {
            lines.add(call.index, call.line);
            history.operations.push(rows.operation(call)?);
        }
        order::finish(&mut history, lines)?;
        Ok(history)
    }
}

/// A record is a map with a tag.
fn untagged(form: Node) -> Node {
    match form.edn {
        Edn::Tagged(_, inner) => *inner,
        _ => form,
    }
}

fn name_of(node: &Node) -> Result<String, Malformed> {
    match &node.edn {
        Edn::Keyword(name) | Edn::Text(name) => Ok(name.clone()),
        _ => Err(node.error("expected a keyword")),
    }
}

fn has_append(value: &Node) -> bool {
    let is_append = |step: &Node| {
        let name = step.seq().and_then(|step| step.first()).map(|name| &name.edn);
        matches!(name, Some(Edn::Keyword(name)) if name == "append")
    };
    value.seq().is_some_and(|steps| steps.iter().any(is_append))
}

/// What the calls become.
struct Rows {
    texts: Texts,
    is_set: bool,
    has_lists: bool,
    /// The last time of the file: what has no end then is given up.
    now: Nanos,
}

const FUNCTIONS: [&str; 7] = [":read", ":write", ":cas", ":txn", ":add", ":acquire", ":release"];

impl Rows {
    fn operation(&mut self, call: Call) -> Result<Operation, Malformed> {
        let f = name_of(&call.f)?;
        let answer = call.end.as_ref().filter(|end| end.is == EndType::Ok).map(|end| &end.value);
        let action = match f.as_str() {
            "read" if self.is_set => self.all(answer)?,
            "read" => self.read(&call.value, answer)?,
            "write" => {
                let (key, value) = self.keyed(&call.value, false);
                Action::Write { key, value: self.text(value) }
            }
            "cas" => self.cas(&call.value, answer.is_some())?,
            "add" => {
                let value = self.text(&call.value);
                Action::Write { key: self.texts.get(&format!("{SET}{value}")), value }
            }
            "txn" => self.txn(&call.value, answer)?,
            "acquire" => Action::Acquire { lock: self.texts.get(REGISTER), token: None, sure_until: None },
            "release" => Action::Release { lock: self.texts.get(REGISTER), token: 0 },
            other => {
                return Err(call.f.error(format!("expected {}, found :{other}", one_of(&FUNCTIONS))));
            }
        };
        let mut error = |end: &End| self.texts.get(&end.error);
        let (ret, outcome) = match &call.end {
            None => (self.now, Outcome::Unknown(self.texts.get("no end"))),
            Some(end) => match end.is {
                EndType::Ok => (end.at, Outcome::Ok),
                EndType::Fail => (end.at, Outcome::Fail(error(end))),
                EndType::Info => (end.at, Outcome::Unknown(error(end))),
            },
        };
        let Call { index, process, call, .. } = call;
        let (session, part, level, seen) = (process, None, None, None);
        Ok(Operation { index, process, session, part, call, ret, action, outcome, level, seen })
    }

    fn text(&mut self, node: &Node) -> Text {
        self.texts.get(&text_of(&node.edn))
    }

    /// Key and value of a tuple `[k v]`; the one register otherwise. The value of `cas` is a pair itself.
    fn keyed<'n>(&mut self, node: &'n Node, is_pair: bool) -> (Text, &'n Node) {
        match node.seq() {
            Some([key, value]) if !is_pair || value.seq().is_some() => (self.text(key), value),
            _ => (self.texts.get(REGISTER), node),
        }
    }

    fn found(&mut self, value: &Node) -> Option<Found> {
        let is_there = value.edn != Edn::Nil;
        is_there.then(|| Found { value: self.text(value), ..Found::default() })
    }

    fn read(&mut self, asked: &Node, answer: Option<&Node>) -> Result<Action, Malformed> {
        let (key, _) = self.keyed(asked, false);
        let found = match answer {
            None => None,
            Some(node) => {
                let (answered, value) = self.keyed(node, false);
                // A call without a value leaves the key to its end.
                if answered != key && asked.edn != Edn::Nil {
                    return Err(node.error(format!("expected the key of the call, {key}")));
                }
                let found = self.found(value);
                return Ok(Action::Read { key: answered, found: Some(found) });
            }
        };
        Ok(Action::Read { key, found })
    }

    fn cas(&mut self, asked: &Node, is_ok: bool) -> Result<Action, Malformed> {
        let (key, pair) = self.keyed(asked, true);
        let Some([old, new]) = pair.seq() else {
            return Err(pair.error("expected a pair [old new] for :cas"));
        };
        let old = Some(self.text(old)).filter(|_| old.edn != Edn::Nil);
        Ok(Action::Cas { key, old, new: self.text(new), swapped: is_ok.then_some(true) })
    }

    /// A read of a set.
    fn all(&mut self, answer: Option<&Node>) -> Result<Action, Malformed> {
        let prefix = self.texts.get(SET);
        let Some(node) = answer else { return Ok(Action::Range { prefix, found: None }) };
        let elements = match (node.seq(), &node.edn) {
            (Some(elements), _) => elements,
            (None, Edn::Nil) => &[],
            _ => return Err(node.error("expected the elements of a set")),
        };
        let mut found: Vec<(Text, Found)> = vec![];
        for element in elements {
            let value = self.text(element);
            found.push((self.texts.get(&format!("{SET}{value}")), Found { value, ..Found::default() }));
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found.dedup_by(|one, other| one.0 == other.0);
        Ok(Action::Range { prefix, found: Some(found) })
    }

    fn txn(&mut self, asked: &Node, answer: Option<&Node>) -> Result<Action, Malformed> {
        let called =
            asked.seq().ok_or_else(|| asked.error("expected a vector of [:append k v], [:r k v], …"))?;
        let steps = match answer {
            None => called,
            Some(node) => match node.seq().filter(|steps| steps.len() == called.len()) {
                Some(steps) => steps,
                None => return Err(node.error("expected the transaction of the call, with what it read")),
            },
        };
        let mut done = vec![];
        for (step, called) in steps.iter().zip(called) {
            let step_done = self.step(step, answer.is_some())?;
            if std::mem::discriminant(&step_done) != std::mem::discriminant(&self.step(called, false)?) {
                return Err(step.error("expected the step of the call"));
            }
            done.push(step_done);
        }
        Ok(Action::Txn { when: vec![], steps: done, applied: answer.map(|_| true) })
    }

    fn step(&mut self, step: &Node, is_done: bool) -> Result<Step, Malformed> {
        let wrong = || step.error("expected a step: [:append k v], [:w k v] or [:r k v]");
        let Some([f, key, value]) = step.seq() else { return Err(wrong()) };
        let key_text = self.text(key);
        match &f.edn {
            Edn::Keyword(name) if name == "append" => Ok(Step::Append(key_text, self.text(value))),
            Edn::Keyword(name) if name == "w" => Ok(Step::Write(key_text, self.text(value))),
            Edn::Keyword(name) if name == "r" && self.has_lists => {
                let elements = match (value.seq(), &value.edn) {
                    (Some(elements), _) => elements.iter().map(|element| self.text(element)).collect(),
                    (None, Edn::Nil) => vec![],
                    _ => return Err(value.error("expected the elements of a list")),
                };
                Ok(Step::List(key_text, Some(elements).filter(|_| is_done)))
            }
            Edn::Keyword(name) if name == "r" => {
                let found = self.found(value);
                Ok(Step::Read(key_text, Some(found).filter(|_| is_done)))
            }
            _ => Err(wrong()),
        }
    }
}
