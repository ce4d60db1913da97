//! The fields of a row that say what was asked and found.

use super::{Wrong, operation::need};
use crate::check::{
    format::{
        jsonl::row::{ConditionRow, FoundRow, Function, OperationRow, PairRow, StepRow, Str},
        text::Texts,
    },
    history::{Action, Condition, Expected, Found, Step, Text},
};

/// What was asked. Takes the fields that belong to it out of the row: none may be left.
pub(super) fn action(row: &mut OperationRow, ok: bool, texts: &mut Texts) -> Result<Action, Wrong> {
    let f = need(row.f, "f")?;
    let mut fields = Fields { row, ok, texts };
    let action = match f {
        Function::Read => Action::Read { key: fields.key()?, found: fields.found()? },
        Function::Write => Action::Write { key: fields.key()?, value: fields.value()? },
        Function::Delete => Action::Delete { key: fields.key()?, existed: fields.row.existed.take() },
        Function::Cas => fields.cas()?,
        Function::Range => fields.range()?,
        Function::Txn => fields.txn()?,
        Function::Acquire | Function::Renew | Function::Release | Function::Guarded => fields.lock(f)?,
        Function::Grant | Function::KeepAlive | Function::Revoke | Function::Attach => fields.lease(f)?,
    };
    nothing_left(row, f)?;
    if !ok {
        no_answer(&action, f)?;
    }
    Ok(action)
}

struct Fields<'a, 'b> {
    row: &'a mut OperationRow<'b>,
    ok: bool,
    texts: &'a mut Texts,
}

impl Fields<'_, '_> {
    fn key(&mut self) -> Result<Text, Wrong> {
        let key = self.row.key.take();
        self.text(key, "key")
    }

    fn value(&mut self) -> Result<Text, Wrong> {
        let value = self.row.value.take();
        self.text(value, "value")
    }

    fn text(&mut self, field: Option<Str>, name: &'static str) -> Result<Text, Wrong> {
        Ok(self.texts.get(&need(field, name)?.0))
    }

    /// A field that is there if, and only if, the operation is ok.
    fn answer<T>(&self, field: Option<T>, name: &'static str) -> Result<Option<T>, Wrong> {
        if self.ok { need(field, name).map(Some) } else { Ok(field) }
    }

    fn found(&mut self) -> Result<Option<Option<Found>>, Wrong> {
        let found = self.row.found.take();
        let found = self.answer(found, "found")?;
        Ok(found.map(|found| found.map(|found| found_of(found, self.texts))))
    }

    fn cas(&mut self) -> Result<Action, Wrong> {
        let key = self.key()?;
        let old = need(self.row.old.take(), "old")?.map(|old| self.texts.get(&old.0));
        let new = self.row.new.take();
        let new = self.text(new, "new")?;
        let swapped = self.row.swapped.take();
        Ok(Action::Cas { key, old, new, swapped: self.answer(swapped, "swapped")? })
    }

    fn range(&mut self) -> Result<Action, Wrong> {
        let prefix = self.row.prefix.take();
        let prefix = self.text(prefix, "prefix")?;
        let pairs = self.row.pairs.take();
        let Some(pairs) = self.answer(pairs, "pairs")? else {
            return Ok(Action::Range { prefix, found: None });
        };
        let pairs: Vec<_> = pairs.into_iter().map(|pair| pair_of(pair, self.texts)).collect();
        if pairs.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(Wrong::new("pairs", "expected pairs in order of key, each key once"));
        }
        Ok(Action::Range { prefix, found: Some(pairs) })
    }

    fn txn(&mut self) -> Result<Action, Wrong> {
        let when = self.row.when.take().unwrap_or_default();
        let when = when.into_iter().map(|row| condition(row, self.texts)).collect::<Result<_, _>>()?;
        let steps = need(self.row.steps.take(), "steps")?;
        let done = self.row.done.take();
        let done = self.answer(done, "done")?;
        let told = |step: Result<Step, Wrong>| step.and_then(|step| answered(step, done));
        let steps = steps.into_iter().map(|row| told(step(row, self.texts))).collect::<Result<_, _>>()?;
        Ok(Action::Txn { when, steps, applied: done })
    }

    fn lock(&mut self, f: Function) -> Result<Action, Wrong> {
        let lock = self.row.lock.take();
        let lock = self.text(lock, "lock")?;
        let (token, sure_until) = (self.row.token.take(), self.row.sure_until.take());
        if sure_until.is_some() && matches!(f, Function::Release | Function::Guarded) {
            return Err(foreign("sure_until", f));
        }
        let known = |token| need(token, "token");
        Ok(match f {
            Function::Renew => Action::Renew { lock, token: known(token)?, sure_until },
            Function::Release => Action::Release { lock, token: known(token)? },
            Function::Guarded => {
                let (token, key, value) = (known(token)?, self.key()?, self.value()?);
                let done = self.row.done.take();
                Action::Guarded { lock, token, key, value, done: self.answer(done, "done")? }
            }
            _ => Action::Acquire { lock, token, sure_until },
        })
    }

    fn lease(&mut self, f: Function) -> Result<Action, Wrong> {
        let (lease, ttl) = (self.row.lease.take(), self.row.ttl.take());
        let known = |lease| need(lease, "lease");
        if ttl.is_some() && matches!(f, Function::Revoke | Function::Attach) {
            return Err(foreign("ttl", f));
        }
        Ok(match f {
            Function::KeepAlive => Action::KeepAlive { lease: known(lease)?, ttl: self.answer(ttl, "ttl")? },
            Function::Revoke => Action::Revoke { lease: known(lease)? },
            Function::Attach => {
                Action::Attach { lease: known(lease)?, key: self.key()?, value: self.value()? }
            }
            _ => Action::Grant { ttl: need(ttl, "ttl")?, lease: self.answer(lease, "lease")? },
        })
    }
}

fn found_of(row: FoundRow, texts: &mut Texts) -> Found {
    let FoundRow { value, mod_revision, create_revision, version } = row;
    Found { value: texts.get(&value.0), mod_revision, create_revision, version }
}

fn pair_of(row: PairRow, texts: &mut Texts) -> (Text, Found) {
    let PairRow { key, value, mod_revision, create_revision, version } = row;
    let found = Found { value: texts.get(&value.0), mod_revision, create_revision, version };
    (texts.get(&key.0), found)
}

fn condition(row: ConditionRow, texts: &mut Texts) -> Result<Condition, Wrong> {
    let expected = match (row.value, row.mod_revision) {
        (Some(value), None) => Expected::Value(value.map(|value| texts.get(&value.0))),
        (None, Some(revision)) => Expected::ModRevision(revision),
        _ => return Err(Wrong::new("when", "expected either \"value\" or \"mod_revision\" in a condition")),
    };
    Ok(Condition { key: texts.get(&row.key.0), expected })
}

fn step(row: StepRow, texts: &mut Texts) -> Result<Step, Wrong> {
    let mut text = |text: &Str| texts.get(&text.0);
    match row {
        StepRow { read: Some(key), found, write: None, list: None, append: None, value: None, .. }
            if row.element.is_none() && row.elements.is_none() =>
        {
            let key = text(&key);
            Ok(Step::Read(key, found.map(|found| found.map(|found| found_of(found, texts)))))
        }
        StepRow { write: Some(key), value: Some(value), read: None, list: None, append: None, .. }
            if row.element.is_none() && row.elements.is_none() && row.found.is_none() =>
        {
            Ok(Step::Write(text(&key), text(&value)))
        }
        StepRow { list: Some(key), elements, read: None, write: None, append: None, value: None, .. }
            if row.element.is_none() && row.found.is_none() =>
        {
            let key = text(&key);
            Ok(Step::List(key, elements.map(|all| all.iter().map(&mut text).collect())))
        }
        StepRow {
            append: Some(key), element: Some(element), read: None, write: None, list: None, ..
        } if row.value.is_none() && row.elements.is_none() && row.found.is_none() => {
            Ok(Step::Append(text(&key), text(&element)))
        }
        _ => Err(Wrong::new("steps", STEP)),
    }
}

const STEP: &str = "expected steps of the form {\"read\", \"found\"}, {\"write\", \"value\"}, \
    {\"list\", \"elements\"} or {\"append\", \"element\"}";

/// Refuses a step of which an answer is missing, or told though there was none.
fn answered(step: Step, done: Option<bool>) -> Result<Step, Wrong> {
    let (name, told) = match &step {
        Step::Read(_, found) => ("found", found.is_some()),
        Step::List(_, found) => ("elements", found.is_some()),
        Step::Write(..) | Step::Append(..) => return Ok(step),
    };
    match (done == Some(true), told) {
        (true, false) => Err(Wrong::new("steps", format!("expected \"{name}\" in a step that was done"))),
        (false, true) => {
            Err(Wrong::new("steps", format!("expected no \"{name}\" in a step that was not done")))
        }
        _ => Ok(step),
    }
}

fn foreign(name: &'static str, f: Function) -> Wrong {
    Wrong::new(name, format!("expected no field \"{name}\" in a row of {}", f.text()))
}

fn nothing_left(row: &OperationRow, f: Function) -> Result<(), Wrong> {
    let left = [
        ("key", row.key.is_some()),
        ("value", row.value.is_some()),
        ("old", row.old.is_some()),
        ("new", row.new.is_some()),
        ("prefix", row.prefix.is_some()),
        ("when", row.when.is_some()),
        ("steps", row.steps.is_some()),
        ("lock", row.lock.is_some()),
        ("token", row.token.is_some()),
        ("lease", row.lease.is_some()),
        ("ttl", row.ttl.is_some()),
        ("found", row.found.is_some()),
        ("pairs", row.pairs.is_some()),
        ("existed", row.existed.is_some()),
        ("swapped", row.swapped.is_some()),
        ("done", row.done.is_some()),
        ("sure_until", row.sure_until.is_some()),
    ];
    left.iter().find(|(_, is)| *is).map_or(Ok(()), |(name, _)| Err(foreign(name, f)))
}

/// Refuses an answer of an operation that has none.
fn no_answer(action: &Action, f: Function) -> Result<(), Wrong> {
    let told = match action {
        Action::Read { found: Some(_), .. } => "found",
        Action::Range { found: Some(_), .. } => "pairs",
        Action::Delete { existed: Some(_), .. } => "existed",
        Action::Cas { swapped: Some(_), .. } => "swapped",
        Action::Txn { applied: Some(_), .. } | Action::Guarded { done: Some(_), .. } => "done",
        Action::Acquire { token: Some(_), .. } => "token",
        Action::Acquire { sure_until: Some(_), .. } | Action::Renew { sure_until: Some(_), .. } => {
            "sure_until"
        }
        Action::Grant { lease: Some(_), .. } => "lease",
        Action::KeepAlive { ttl: Some(_), .. } => "ttl",
        _ => return Ok(()),
    };
    let what = format!("expected no answer \"{told}\" of a {} that is not ok", f.text());
    Err(Wrong::new(told, what))
}
