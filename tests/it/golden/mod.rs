//! Transcripts: commands in, results and events out, as files that a person reads. Each runs on memory and on
//! sled at once, which must agree word for word.
//!
//! `UPDATE_GOLDENFILES=1 cargo nextest run golden` writes the outputs anew; read the difference before you
//! commit it.

mod parse;
mod store;

use std::{error::Error, sync::Arc};

use goldenscript::{Command, Context, Runner};
use quorate::storage::{Engine, MemoryEngine, SledEngine};

use self::store::Store;

/// The same store on two engines.
struct Mirror {
    memory: Store,
    sled: Store,
}

impl Mirror {
    fn new() -> Mirror {
        Mirror { memory: Store::new(Box::new(memory)), sled: Store::new(Box::new(sled())) }
    }
}

fn memory() -> Arc<dyn Engine> {
    Arc::new(MemoryEngine::new())
}

/// Makes sled databases in a directory that lives as long as the maker.
fn sled() -> impl FnMut() -> Arc<dyn Engine> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut count = 0;
    move || {
        count += 1;
        Arc::new(SledEngine::open(&dir.path().join(count.to_string()), 8 << 20).expect("sled opens"))
    }
}

impl Runner for Mirror {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let tokens: Vec<String> = command.args.iter().map(ToString::to_string).collect();
        // Quotes are for the script's own parser.
        let tokens: Vec<&str> = tokens.iter().map(|token| token.trim_matches('"')).collect();
        let events = context.tags.contains("events");
        let memory = self.memory.run(&command.name, &tokens, events);
        let sled = self.sled.run(&command.name, &tokens, events);
        if memory != sled {
            panic!("engines disagree\nmemory: {memory:?}\nsled: {sled:?}");
        }
        Ok(memory?)
    }
}

fn script(name: &str) {
    let path = format!("{}/tests/golden/state/{name}", env!("CARGO_MANIFEST_DIR"));
    goldenscript::run(&mut Mirror::new(), path).expect("a script");
}

macro_rules! scripts {
    ($($name:ident)*) => { $(#[test] fn $name() { script(stringify!($name)); })* };
}

scripts! {
    put_and_get
    delete
    range
    txn
    txn_nested
    at_revision
    compaction
    batches
    snapshot
    refusals
    leases
    sessions
    guards
    lock_queue
    history
}
