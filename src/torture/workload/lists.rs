//! Lists that grow at their end, in transactions over several of them: read, then write if nothing has
//! changed (as Jepsen's etcd test does).

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use super::{
    Crew,
    actor::{Actor, bytes, compare_of, elements_of},
    options,
};
use crate::{
    check::history::{Action, Condition, Expected, Seen, Step, Text, text},
    error::Error,
    recipes::KvApi,
    types::{KeyRange, KeyValue, Level, Op, Put, Range, Revision, Txn},
};

/// Lists at a time.
const LISTS: u32 = 3;

/// Lists are left for new ones after so many seconds.
const LIFE: u64 = 4;

pub fn crew(crew: &mut Crew) {
    crew.add(grow);
    crew.add(grow);
    crew.add_without_session(grow);
}

async fn grow(mut actor: Actor) {
    while actor.turn().await {
        let prefix = actor.key_of_life(LIFE, "");
        let steps = steps(&mut actor, &prefix);
        let (client, asked) = (actor.client.clone(), steps.clone());
        let level = steps.iter().all(|step| matches!(step, Step::List(..))).then_some(Level::Linearizable);
        let action = Action::Txn { when: Vec::<Condition>::new(), steps, applied: None };
        let transact = async move { transact(&client, &prefix, asked).await };
        actor.record((action, level), transact, answered).await;
    }
}

/// One to three reads and appends.
fn steps(actor: &mut Actor, prefix: &str) -> Vec<Step> {
    let count = actor.rng.random_range(1..=3);
    let mut steps = Vec::new();
    for _ in 0..count {
        let key = Text::from(format!("{prefix}{}", actor.rng.random_range(0..LISTS)));
        steps.push(match actor.rng.random_bool(0.5) {
            true => Step::List(key, None),
            false => Step::Append(key, actor.value()),
        });
    }
    steps
}

/// A transaction that was done, or whose guard did not hold.
struct Done {
    seen: Seen,
    when: Vec<Condition>,
    steps: Option<Vec<Step>>,
}

fn answered(done: &Done, action: &mut Action) -> Seen {
    if let Action::Txn { when, steps, applied } = action {
        when.clone_from(&done.when);
        *applied = Some(done.steps.is_some());
        if let Some(answered) = &done.steps {
            *steps = answered.clone();
        }
    }
    done.seen
}

/// What the lists hold: their elements, and the revision that a guard compares.
type Lists = BTreeMap<Text, (Vec<Text>, Revision)>;

async fn transact(client: &impl KvApi, prefix: &str, steps: Vec<Step>) -> Result<Done, Error> {
    let range = Range::new(KeyRange::prefix(bytes(prefix)));
    let answer = client.range(range, Level::Linearizable.into(), options()).await?;
    let mut lists: Lists = answer.result.kvs.iter().map(list_of).collect();
    let read = lists.clone();
    let steps: Vec<Step> = steps.into_iter().map(|step| take(&mut lists, step)).collect();
    if lists == read {
        return Ok(Done { seen: Seen::from(&answer.header), when: Vec::new(), steps: Some(steps) });
    }
    let when = unchanged(&read, &steps);
    let compares = when.iter().map(compare_of).collect();
    let txn = Txn { compares, then_ops: changes(&read, &lists), ..Txn::default() };
    let answer = client.txn(txn, options()).await?;
    Ok(Done { seen: Seen::from(&answer.header), when, steps: answer.result.succeeded.then_some(steps) })
}

fn list_of(kv: &KeyValue) -> (Text, (Vec<Text>, Revision)) {
    (text(&kv.key), (elements_of(kv), kv.mod_revision))
}

/// Takes a step on what was read.
fn take(lists: &mut Lists, step: Step) -> Step {
    match step {
        Step::List(key, _) => {
            let elements = lists.get(&key).map(|(elements, _)| elements.clone()).unwrap_or_default();
            Step::List(key, Some(elements))
        }
        Step::Append(key, element) => {
            lists.entry(key.clone()).or_default().0.push(element.clone());
            Step::Append(key, element)
        }
        step => step,
    }
}

/// That nothing has changed of what the steps touch.
fn unchanged(read: &Lists, steps: &[Step]) -> Vec<Condition> {
    let key = |step: &Step| match step {
        Step::Read(key, _) | Step::Write(key, _) | Step::List(key, _) | Step::Append(key, _) => key.clone(),
    };
    let touched: BTreeSet<Text> = steps.iter().map(key).collect();
    let condition = |key: Text| {
        let revision = read.get(&key).map_or(0, |(_, revision)| *revision);
        Condition { key, expected: Expected::ModRevision(revision) }
    };
    touched.into_iter().map(condition).collect()
}

/// Puts of the lists that have grown.
fn changes(read: &Lists, lists: &Lists) -> Vec<Op> {
    let grown = lists.iter().filter(|(key, list)| read.get(*key) != Some(list));
    let put = |(key, (elements, _)): (&Text, &(Vec<Text>, Revision))| {
        let elements: Vec<&str> = elements.iter().map(|element| &**element).collect();
        Op::Put(Put { key: bytes(key), value: bytes(&elements.join(" ")), ..Put::default() })
    };
    grown.map(put).collect()
}
