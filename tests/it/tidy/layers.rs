//! Which top-level module may use which: the edges of ARCHITECTURE.md, as a table.

use super::{
    Finding,
    source::{Source, identifier, line_of, matching, split_commas, words},
};

/// The vocabulary: everything may use it.
const VOCABULARY: [&str; 3] = ["types", "error", "mutant"];

/// A module and what it may use besides itself and the vocabulary.
type Row = (&'static str, &'static [&'static str]);

/// From the bottom up. A new module needs a row.
const ALLOWED: &[Row] = &[
    ("types", &[]),
    ("mutant", &[]),
    ("error", &[]),
    // Plain data; whoever is configured may read it, but not the heart (`state`, `storage`, `log`).
    ("config", &[]),
    // Subscriber and log format: only who starts a process needs it.
    ("telemetry", &[]),
    // Counters of where time goes.
    ("stages", &[]),
    ("storage", &[]),
    ("log", &[]),
    ("state", &["storage"]),
    ("watch", &["state", "env"]),
    ("env", &[]),
    // Wire types, converted to and from the vocabulary: knows nobody who uses them.
    ("pb", &[]),
    // `env` for the clock that counts suspended time: by it a lock's holder sees that it is late.
    ("recipes", &["env"]),
    ("raft", &["state", "storage", "log", "env", "pb", "config", "stages"]),
    ("node", &["raft", "state", "watch", "storage", "log", "env", "recipes", "config", "stages"]),
    ("api", &["node", "watch", "recipes", "env", "pb", "config"]),
    ("client", &["recipes", "pb", "env"]),
    ("check", &[]),
    // `recipes` for the traits whose methods the client calls, and for locks; `pb` for a member's status.
    ("torture", &["client", "check", "env", "recipes", "pb"]),
    // `recipes` for the same; `pb` for plain gRPC calls, and for a server that does nothing.
    ("bench", &["client", "recipes", "pb", "env"]),
    ("server", &["api", "node", "config", "telemetry"]),
    // `recipes` for the trait `KvApi`, whose methods the client calls; `pb` for a member's status, which
    // the client hands out as it came.
    (
        "cli",
        &["client", "server", "check", "torture", "bench", "recipes", "config", "telemetry", "pb", "env"],
    ),
];

/// What the crate root re-exports, and the module that it stands for.
const REEXPORTS: [(&str, &str); 4] =
    [("Node", "node"), ("Config", "config"), ("Client", "client"), ("Error", "error")];

/// Findings: edges that the table does not allow.
pub fn check(source: &Source) -> Vec<Finding> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: module `{module}` has no row in tests/it/tidy/layers.rs", source.path)];
    };
    uses(&source.code)
        .into_iter()
        .filter(|(_, used)| {
            used != module && !VOCABULARY.contains(&used.as_str()) && !allowed.contains(&used.as_str())
        })
        .map(|(line, used)| format!("{}:{line}: `{module}` may not use `{used}`", source.path))
        .collect()
}

/// Every `crate::module`, alone or in a group, with its line.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate").filter(|at| !code[..*at].ends_with("pub(")) {
        let Some(path) = code[at + "crate".len()..].trim_start().strip_prefix("::") else { continue };
        let path = path.trim_start();
        let line = line_of(code, at);
        if path.starts_with('{') {
            let group = &path[1..matching(path, 0).max(1)];
            let items = split_commas(group);
            found.extend(items.iter().map(|item| (line, module_of(identifier(item.trim())))));
        } else {
            found.push((line, module_of(identifier(path))));
        }
    }
    found
}

fn module_of(name: &str) -> String {
    REEXPORTS.iter().find(|(item, _)| *item == name).map_or(name, |(_, module)| module).to_owned()
}
