//! Jepsen's histories in, and out again.

use super::*;
use crate::check::{
    format::{self, Format},
    history::{Action, Condition, Expected, FaultKind, History, Outcome, Step},
};

fn read(file: &str) -> Result<History, String> {
    format::read(file.as_bytes(), Format::Edn).map_err(|error| error.to_string())
}

fn good(file: &str) -> History {
    read(file).unwrap_or_else(|error| panic!("{error}: {file}"))
}

const REGISTER_FILE: &str = r#"
{:process 0, :type :invoke, :f :write, :value 3, :index 0, :time 10}
{:process 1, :type :invoke, :f :read, :value nil, :index 1, :time 20}
{:process :nemesis, :type :info, :f :start-partition, :value nil, :index 2, :time 25}
{:process 0, :type :ok, :f :write, :value 3, :index 3, :time 30}
{:process 1, :type :ok, :f :read, :value nil, :index 4, :time 40}
#_ {:process 9 :type :what}
{:process 1, :type :invoke, :f :cas, :value [3 4], :index 5, :time 50} ; a comment
{:process 1, :type :info, :f :cas, :value [3 4], :index 6, :time 60, :error :timeout}
{:process :nemesis, :type :info, :f :stop-partition, :value nil, :index 7, :time 65}
{:process 0, :type :invoke, :f :cas, :value [3 5], :index 8, :time 70}
{:process 0, :type :fail, :f :cas, :value [3 5], :index 9, :time 80}
{:process 0, :type :invoke, :f :write, :value 9, :index 10, :time 90}
"#;

#[test]
fn a_register_is_read() {
    let history = good(REGISTER_FILE);
    let key = || "r".into();
    let actions: Vec<_> = history.operations.iter().map(|operation| operation.action.clone()).collect();
    let cas = |new: &str| Action::Cas { key: key(), old: Some("3".into()), new: new.into(), swapped: None };
    assert_eq!(
        actions,
        [
            Action::Write { key: key(), value: "3".into() },
            Action::Read { key: key(), found: Some(None) },
            cas("4"),
            cas("5"),
            Action::Write { key: key(), value: "9".into() },
        ]
    );
    let outcomes: Vec<_> = history.operations.iter().map(|operation| operation.outcome.clone()).collect();
    let info = |why: &str| Outcome::Unknown(why.into());
    assert_eq!(
        outcomes,
        [Outcome::Ok, Outcome::Ok, info(":timeout"), Outcome::Fail("".into()), info("no end")]
    );
    let [fault] = &history.faults[..] else { panic!("{:?}", history.faults) };
    assert_eq!((fault.kind, fault.from, fault.to), (FaultKind::Partition, 25, Some(65)));
}

#[test]
fn tuples_sets_mutexes_and_a_vector_are_read() {
    let keyed = good(
        "[{:process 0 :type :invoke :f :read :value [7 nil]} {:process 0 :type :ok :f :read :value [7 \"x\"]}
          #jepsen.history.Op{:process 1 :type :invoke :f :cas :value [7 [1 2]]}]",
    );
    let Action::Read { key, found: Some(Some(found)) } = &keyed.operations[0].action else { panic!() };
    assert_eq!((&**key, &*found.value), ("7", "x"));
    assert!(matches!(&keyed.operations[1].action, Action::Cas { key, .. } if **key == *"7"));
    let set = good(
        "{:process 0 :type :invoke :f :add :value 1} {:process 0 :type :ok :f :add :value 1}
         {:process 0 :type :invoke :f :read :value nil} {:process 0 :type :ok :f :read :value #{2 1}}",
    );
    let Action::Range { prefix, found: Some(found) } = &set.operations[1].action else { panic!() };
    assert_eq!((&**prefix, &*found[0].0, &*found[1].0), ("set/", "set/1", "set/2"));
    let mutex = good("{:process 0 :type :invoke :f :acquire} {:process 0 :type :ok :f :acquire}");
    assert!(matches!(mutex.operations[0].action, Action::Acquire { token: None, .. }));
}

const LISTS: &str = "\
{:index 0, :time 1, :process 1, :type :invoke, :f :txn, :value [[:append 1 1] [:r 2 nil]]}
{:index 1, :time 2, :process 1, :type :ok, :f :txn, :value [[:append 1 1] [:r 2 [5 6]]]}
{:index 2, :time 3, :process 1, :type :invoke, :f :txn, :value [[:append \"a\\\"b\" \"3.17\"]]}
{:index 3, :time 4, :process 1, :type :info, :f :txn, :value [[:append \"a\\\"b\" \"3.17\"]], :error \"x\"}
{:index 4, :time 5, :process 2, :type :invoke, :f :txn, :value [[:append 1 2]]}
{:index 5, :time 6, :process 2, :type :fail, :f :txn, :value [[:append 1 2]], :error \"y\"}
";

#[test]
fn lists_are_written_as_they_were_read() {
    let mut history = good(LISTS);
    let Action::Txn { steps, applied: Some(true), when } = &mut history.operations[0].action else {
        panic!()
    };
    assert_eq!(steps[1], Step::List("2".into(), Some(vec!["5".into(), "6".into()])));
    // It held: nothing is lost without it.
    when.push(Condition { key: "2".into(), expected: Expected::ModRevision(7) });
    let mut out = vec![];
    write_lists(&history, &mut out).expect("lists");
    assert_eq!(String::from_utf8(out).expect("text"), LISTS);
}

#[test]
fn a_register_is_written_for_knossos_and_read_again() {
    let history = good(REGISTER_FILE);
    let mut out = vec![];
    write_register(&history, "r", &mut out).expect("a register");
    let text = String::from_utf8(out).expect("text");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "{:index 0, :time 0, :process 0, :type :invoke, :f :write, :value :absent}");
    assert_eq!(lines[5], "{:index 5, :time 40, :process 2, :type :ok, :f :read, :value :absent}");
    assert!(
        lines.contains(&"{:index 9, :time 80, :process 1, :type :fail, :f :cas, :value [3 5]}"),
        "{text}"
    );
    let again = good(&text);
    let told = |history: &History| -> Vec<_> {
        let plain = history.operations.iter();
        plain.map(|one| (one.call, one.ret, one.action.clone(), one.outcome.clone())).collect()
    };
    // The first value, and what was absent, have a name of their own now.
    let expected = told(&history).into_iter().map(|(call, ret, action, outcome)| match action {
        Action::Read { key, found: Some(None) } => {
            let found = crate::check::history::Found { value: ":absent".into(), ..Default::default() };
            (call, ret, Action::Read { key, found: Some(Some(found)) }, outcome)
        }
        other => (call, ret, other, outcome),
    });
    let mut told = told(&again).into_iter().skip(1).collect::<Vec<_>>();
    let mut expected: Vec<_> = expected.collect();
    (told.pop(), expected.pop());
    assert_eq!(told.len(), 4);
    for (told, expected) in told.into_iter().zip(expected) {
        assert_eq!((told.0, told.1, told.2), (expected.0, expected.1, expected.2));
    }
}

#[test]
fn what_has_no_form_there_is_refused() {
    let history = good(LISTS);
    let refused = write_register(&history, "1", &mut vec![]).expect_err("appends").to_string();
    assert_eq!(refused, "operation 0 has no form in this kind of history: a transaction that writes the key");
}

#[test]
fn a_mistake_is_told_with_line_column_and_what_was_expected() {
    let call = "{:process 0 :type :invoke :f :write :value 3}\n";
    let again = |rest: &str| read(&format!("{call}{rest}")).expect_err(rest);
    for (said, expected) in [
        (
            again("{:process 0 :type :okay :f :write}"),
            "line 2, column 19: expected one of invoke, ok, fail or \
            info, found \"okay\"",
        ),
        (
            again(call),
            "line 2, column 1: expected another process: process 0 calls, but its call of line 1 is \
            still open",
        ),
        (
            again(&format!("{{:process 0 :type :info :f :write}}\n{call}")),
            "line 3, column 1: expected another \
            process: process 0 calls again, but what came of its call of line 1 is unknown",
        ),
        (
            again("{:process 1 :type :ok :f :write}"),
            "line 2, column 1: expected a call of process 1 before \
            its end",
        ),
        (
            again("{:process 0 :type :ok :f :read}"),
            "line 2, column 26: expected :write, as in the call of line 1",
        ),
        (
            again("{:process 1 :type :invoke :f :raed}"),
            "line 2, column 30: expected one of :read, :write, :cas, \
            :txn, :add, :acquire or :release, found :raed",
        ),
        (
            again("{:process 1 :type :invoke :f :cas :value 3}"),
            "line 2, column 42: expected a pair [old new] \
            for :cas",
        ),
        (again("{:process 1 :type :invoke"), "line 2, column 26: expected \"}\", found the end"),
        (again("{:process 1 :type }"), "line 2, column 13: expected a value for this key, found none"),
        (again("17"), "line 2, column 1: expected a map {:process … :type … :f … :value …}"),
        (
            again("{:process 1 :type :invoke :f :txn :value [[:append 1]]}"),
            "line 2, column 43: expected a step: \
            [:append k v], [:w k v] or [:r k v]",
        ),
    ] {
        assert_eq!(said, expected);
    }
    assert_eq!(
        read(&format!("[{call}")).expect_err("cut"),
        "line 2, column 1: expected \"]\", found the end"
    );
    let behind = read(&format!("[{call}] 17")).expect_err("more");
    assert_eq!(behind, "line 2, column 5: expected the end after the vector");
    assert!(read(&"#_ ".repeat(100_000)).is_err_and(|why| why.contains("64 levels")));
    assert!(read(&"[".repeat(100_000)).is_err_and(|why| why.contains("64 levels")));
}
