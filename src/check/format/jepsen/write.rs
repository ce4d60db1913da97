//! A history to EDN, for other checkers.

use std::{
    collections::HashMap,
    fmt,
    io::{self, Write},
};

use super::value::value_of;
use crate::{
    check::history::{Action, History, Nanos, Operation, Outcome, Step},
    types::Level,
};

/// Why a history could not be written as one of Jepsen's.
#[derive(Debug)]
pub enum ExportError {
    /// The stream does not take it.
    Io(io::Error),
    /// An operation has no form there, and leaving it out would change the verdict.
    NoForm {
        /// Which, by index.
        operation: u64,
        /// What it is.
        what: &'static str,
    },
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Io(error) => error.fmt(f),
            ExportError::NoForm { operation, what } => {
                write!(f, "operation {operation} has no form in this kind of history: {what}")
            }
        }
    }
}

impl std::error::Error for ExportError {}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> ExportError {
        ExportError::Io(error)
    }
}

/// The value for "there is nothing": Knossos takes `nil` for any value.
const ABSENT: &str = ":absent";

/// A call and its end as they are written.
struct Told {
    process: u64,
    call: Nanos,
    ret: Nanos,
    f: &'static str,
    asked: String,
    answered: String,
    outcome: Outcome,
}

/// Writes what was done to one key as a register in Knossos' form. `:absent` stands for "there is nothing",
/// and is written first, since the key does not exist in the beginning. Reads at a level that does not
/// promise linearizability are left out, and so is what reads several keys at once.
///
/// # Errors
/// `out` does not take it, or the key was written by something that is no register's operation.
pub fn write_register(history: &History, key: &str, out: impl Write) -> Result<(), ExportError> {
    let mut told = vec![];
    for operation in &history.operations {
        if let Some((f, asked, answered, outcome)) = register(operation, key)? {
            told.push(tell(operation, (f, asked, answered), outcome));
        }
    }
    let mut writer = EdnWriter { out, index: 0 };
    let first = Told {
        process: 0,
        call: 0,
        ret: 0,
        f: "write",
        asked: ABSENT.into(),
        answered: ABSENT.into(),
        outcome: Outcome::Ok,
    };
    writer.row(&first, 0, "invoke")?;
    writer.row(&first, 0, "ok")?;
    writer.all(told)
}

/// Writes transactions over lists in Elle's form. Conditions have no form there, and need none: if they held,
/// the transaction was done, and otherwise it was not.
///
/// # Errors
/// `out` does not take it, or a transaction has steps that are no list's too.
pub fn write_lists(history: &History, out: impl Write) -> Result<(), ExportError> {
    let mut told = vec![];
    for operation in history.operations.iter().filter(|operation| is_strict(operation)) {
        let Action::Txn { steps, applied, .. } = &operation.action else { continue };
        let is_list = |step: &Step| matches!(step, Step::List(..) | Step::Append(..));
        if !steps.iter().any(is_list) {
            continue;
        }
        let texts = micro_ops(steps, false).zip(micro_ops(steps, true));
        let Some((asked, answered)) = texts else {
            let what = "a transaction over lists, and over keys that are none";
            return Err(ExportError::NoForm { operation: operation.index, what });
        };
        let outcome = done(&operation.outcome, *applied);
        told.push(tell(operation, ("txn", asked, answered), outcome));
    }
    EdnWriter { out, index: 0 }.all(told)
}

type Form = (&'static str, String, String, Outcome);

/// An operation as a register's, if it concerns the key.
fn register(operation: &Operation, key: &str) -> Result<Option<Form>, ExportError> {
    let value = |value: Option<&str>| value.map_or(ABSENT.to_owned(), value_of);
    let outcome = || operation.outcome.clone();
    let write = |to: String, done| Ok(Some(("write", to.clone(), to, done)));
    let refuse = |what| Err(ExportError::NoForm { operation: operation.index, what });
    match &operation.action {
        Action::Read { key: read, found } if **read == *key && is_strict(operation) => {
            let found = found.as_ref().map(|found| value(found.as_ref().map(|found| &*found.value)));
            Ok(Some(("read", "nil".into(), found.unwrap_or("nil".into()), outcome())))
        }
        Action::Write { key: written, value: to } if **written == *key => write(value(Some(to)), outcome()),
        Action::Delete { key: written, .. } if **written == *key => write(value(None), outcome()),
        Action::Guarded { key: written, value: to, done: is_done, .. } if **written == *key => {
            write(value(Some(to)), done(&operation.outcome, *is_done))
        }
        Action::Cas { key: written, old, new, swapped } if **written == *key => {
            let pair = format!("[{} {}]", value(old.as_deref()), value(Some(new)));
            Ok(Some(("cas", pair.clone(), pair, done(&operation.outcome, *swapped))))
        }
        Action::Attach { key: written, .. } if **written == *key && !is_fail(operation) => {
            refuse("a key that goes with a lease")
        }
        Action::Txn { steps, .. } if !is_fail(operation) => {
            let writes = |step: &Step| match step {
                Step::Write(written, _) | Step::Append(written, _) => **written == *key,
                Step::Read(..) | Step::List(..) => false,
            };
            if steps.iter().any(writes) { refuse("a transaction that writes the key") } else { Ok(None) }
        }
        _ => Ok(None),
    }
}

fn is_fail(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Fail(_))
}

/// Whether linearizability is promised without a condition.
fn is_strict(operation: &Operation) -> bool {
    matches!(operation.level, None | Some(Level::Linearizable | Level::Log))
}

/// What was answered, but not done, fails.
fn done(outcome: &Outcome, is_done: Option<bool>) -> Outcome {
    match (outcome, is_done) {
        (Outcome::Ok, Some(false)) => Outcome::Fail("not done".into()),
        (outcome, _) => outcome.clone(),
    }
}

/// The steps of a transaction over lists alone.
fn micro_ops(steps: &[Step], with_answers: bool) -> Option<String> {
    let steps: Option<Vec<String>> = steps.iter().map(|step| micro_op(step, with_answers)).collect();
    Some(format!("[{}]", steps?.join(" ")))
}

fn micro_op(step: &Step, with_answers: bool) -> Option<String> {
    Some(match step {
        Step::Append(key, element) => format!("[:append {} {}]", value_of(key), value_of(element)),
        Step::List(key, Some(elements)) if with_answers => {
            let elements: Vec<String> = elements.iter().map(|element| value_of(element)).collect();
            format!("[:r {} [{}]]", value_of(key), elements.join(" "))
        }
        Step::List(key, _) => format!("[:r {} nil]", value_of(key)),
        Step::Read(..) | Step::Write(..) => return None,
    })
}

fn tell(
    operation: &Operation,
    (f, asked, answered): (&'static str, String, String),
    outcome: Outcome,
) -> Told {
    let (process, call, ret) = (operation.process, operation.call, operation.ret);
    Told { process, call, ret, f, asked, answered, outcome }
}

struct EdnWriter<W> {
    out: W,
    index: u64,
}

impl<W: Write> EdnWriter<W> {
    /// Writes calls and ends in order of time; at one time the calls first, since both ends of an operation
    /// belong to it.
    fn all(&mut self, mut told: Vec<Told>) -> Result<(), ExportError> {
        rename(&mut told);
        let calls = (0..told.len()).map(|at| (told[at].call, false, at));
        let ends = (0..told.len()).map(|at| (told[at].ret, true, at));
        let mut events: Vec<(Nanos, bool, usize)> = calls.chain(ends).collect();
        events.sort_unstable();
        for (time, is_end, at) in events {
            let kind = match &told[at].outcome {
                _ if !is_end => "invoke",
                Outcome::Ok => "ok",
                Outcome::Fail(_) => "fail",
                Outcome::Unknown(_) => "info",
            };
            self.row(&told[at], time, kind)?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn row(&mut self, told: &Told, time: Nanos, kind: &str) -> io::Result<()> {
        let value = if kind == "ok" { &told.answered } else { &told.asked };
        let (index, process, f) = (self.index, told.process, told.f);
        write!(
            self.out,
            "{{:index {index}, :time {time}, :process {process}, :type :{kind}, :f :{f}, :value {value}"
        )?;
        match &told.outcome {
            Outcome::Fail(why) | Outcome::Unknown(why) if kind != "invoke" && !why.is_empty() => {
                write!(self.out, ", :error {}", value_of(why))?;
            }
            _ => {}
        }
        self.index += 1;
        writeln!(self.out, "}}")
    }
}

/// Gives each operation a process that does nothing else meanwhile: a new one after an unknown outcome, and
/// where a call is at the very time of the end before, which would come behind it. 0 is the writer of the
/// first value.
fn rename(told: &mut [Told]) {
    let mut names: HashMap<u64, (u64, Nanos)> = HashMap::new();
    let mut next = 1;
    told.sort_by_key(|one| one.call);
    for one in told {
        let free = names.get(&one.process).filter(|(_, ret)| *ret < one.call).map(|(name, _)| *name);
        let name = free.unwrap_or(next);
        next += u64::from(free.is_none());
        let until = if matches!(one.outcome, Outcome::Unknown(_)) { Nanos::MAX } else { one.ret };
        names.insert(one.process, (name, until));
        one.process = name;
    }
}
