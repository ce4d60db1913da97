//! What must not be written where, and how big things may get.

use super::{
    Finding,
    source::{Source, line_of, words},
};

/// The deterministic heart.
const HEART: [&str; 3] = ["state", "storage", "log"];

/// Not in the heart, neither by path nor by name: no runtime, no network, no clock, no chance, no unordered
/// map.
const NOT_IN_HEART: [&str; 11] = [
    "tokio",
    "tonic",
    "openraft",
    "async",
    "await",
    "SystemTime",
    "Instant",
    "rand",
    "HashMap",
    "HashSet",
    "sleep",
];

/// Not anywhere: what was left for later.
const NOWHERE: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// Not in the library: queues without a bound (`std`'s is `mpsc::channel()`), and panics that wait for bad
/// input.
const NOT_IN_PRODUCT: [&str; 6] = [
    "unbounded_channel",
    "UnboundedSender",
    "UnboundedReceiver",
    "unbounded",
    "mpsc::channel()",
    ".unwrap()",
];

/// Not in the library: it speaks through `tracing` and through its answers.
const PRINTING: [&str; 4] = ["println!", "eprintln!", "print!", "eprint!"];

/// Marks of unfinished work, in comments too. Written in two halves, so that this file passes.
const MARKS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Lines of a file.
const FILE_LINES_MAX: usize = 800;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line.
const LINE_CHARS_MAX: usize = 110;
/// Parameters of a function besides `self`.
const PARAMETERS_MAX: usize = 4;

/// The ratchet: what exceeds a cap today, by path, item and size. An entry may only shrink, and goes when it
/// is no
/// longer needed.
const EXCEPTIONS: &[(&str, &str, usize)] = &[];

/// Findings: words that must not stand where they stand.
pub fn bans(source: &Source) -> Vec<Finding> {
    let mut found = banned(source, &source.code, &NOWHERE);
    found.extend(banned(source, &source.text, &MARKS));
    let product = if source.is_test { String::new() } else { source.product_code() };
    let Some(module) = source.module() else { return found };
    if HEART.contains(&module) {
        found.extend(banned(source, &product, &NOT_IN_HEART));
    }
    if !["raft", "node"].contains(&module) {
        found.extend(banned(source, &product, &["openraft"]));
    }
    if module != "cli" {
        found.extend(banned(source, &product, &PRINTING));
    }
    found.extend(banned(source, &product, &NOT_IN_PRODUCT));
    found.sort();
    found.dedup();
    found
}

fn banned(source: &Source, code: &str, bans: &[&str]) -> Vec<Finding> {
    let find = |ban: &&str| -> Vec<Finding> {
        words(code, ban)
            .map(|at| format!("{}:{}: `{ban}` is banned here", source.path, line_of(code, at)))
            .collect()
    };
    bans.iter().flat_map(find).collect()
}

/// Findings: what exceeds a cap without being an exception, and exceptions that are not needed.
pub fn caps(sources: &[Source]) -> Vec<Finding> {
    caps_with(sources, EXCEPTIONS)
}

/// `caps` with another list of exceptions.
pub fn caps_with(sources: &[Source], exceptions: &[(&str, &str, usize)]) -> Vec<Finding> {
    let mut used = vec![false; exceptions.len()];
    let mut found = Vec::new();
    for excess in sources.iter().flat_map(excesses) {
        let known = exceptions.iter().position(|(path, item, size)| {
            excess.path == *path && excess.item == *item && excess.size <= *size
        });
        match known {
            Some(at) => used[at] = true,
            None => found.push(excess.text()),
        }
    }
    let unused = exceptions.iter().zip(used).filter(|(_, used)| !used);
    found
        .extend(unused.map(|((path, item, _), _)| format!("{path}: the exception for {item} is not needed")));
    found
}

/// Something that is too big.
struct Excess {
    path: String,
    line: usize,
    /// Names it in the list of exceptions: `file`, `line`, or the function's name.
    item: String,
    what: &'static str,
    size: usize,
    limit: usize,
}

impl Excess {
    fn text(&self) -> Finding {
        let Excess { path, line, item, what, size, limit } = self;
        format!("{path}:{line}: {item}: {size} {what}, the cap is {limit}")
    }
}

fn excesses(source: &Source) -> Vec<Excess> {
    let mut found = Vec::new();
    let mut cap = |line: usize, item: &str, what: &'static str, (size, limit): (usize, usize)| {
        if size > limit {
            found.push(Excess { path: source.path.clone(), line, item: item.to_owned(), what, size, limit });
        }
    };
    cap(1, "file", "lines", (source.text.lines().count(), FILE_LINES_MAX));
    for (at, line) in source.text.lines().enumerate() {
        cap(at + 1, "line", "characters", (line.chars().count(), LINE_CHARS_MAX));
    }
    for function in source.functions() {
        cap(function.line, &function.name, "lines", (function.lines, FUNCTION_LINES_MAX));
        cap(function.line, &function.name, "parameters", (function.parameters, PARAMETERS_MAX));
    }
    found
}
