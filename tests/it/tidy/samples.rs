//! Bad samples: every rule must find what it is there to find, and must not see what is not there.

use std::path::Path;

use super::{layers, markdown, rules, source::Source};

fn bans(path: &str, code: &str) -> Vec<String> {
    rules::bans(&Source::new(path, code))
}

fn layers(path: &str, code: &str) -> Vec<String> {
    layers::check(&Source::new(path, code))
}

fn caps(code: &str, exceptions: &[(&str, &str, usize)]) -> Vec<String> {
    rules::caps_with(&[Source::new("src/node/x.rs", code)], exceptions)
}

#[test]
fn a_forbidden_edge_is_found_however_it_is_written() {
    let plain = layers("src/state/mod.rs", "use crate::types::Put;\nuse crate::raft::Log;\n");
    assert_eq!(plain, ["src/state/mod.rs:2: `state` may not use `raft`"]);

    let group =
        layers("src/log/wal.rs", "use crate::{\n    error::Error,\n    env::{Clock, a::B},\n    log,\n};");
    assert_eq!(group, ["src/log/wal.rs:1: `log` may not use `env`"]);

    let inline = layers("src/storage/sled.rs", "fn f() { $crate::node::x(); crate::Client::y() }");
    assert_eq!(inline.len(), 2, "{inline:?}");

    let unknown = layers("src/novel.rs", "");
    assert_eq!(unknown, ["src/novel.rs: module `novel` has no row in tests/it/tidy/layers.rs"]);
}

#[test]
fn an_allowed_edge_a_comment_and_a_literal_are_not_findings() {
    let code = "//! See [`crate::raft`].\nuse crate::storage::Engine;\n\
        const T: &str = \"crate::node\";\npub(crate) fn f() {}";
    assert_eq!(layers("src/state/mod.rs", code), [""; 0]);
    assert_eq!(layers("src/lib.rs", "pub use crate::raft::X;"), [""; 0], "the root is the map");
}

#[test]
fn the_heart_has_no_runtime_no_clock_and_no_chance() {
    for word in ["tokio::spawn(x)", "tonic::Status", "Instant::now()", "rand::random()", "HashMap::new()"] {
        let code = format!("fn f() {{ {word} }}");
        assert_eq!(bans("src/state/apply.rs", &code).len(), 1, "{word}");
        assert_eq!(bans("src/node/mod.rs", &code), [""; 0], "{word}");
    }
    assert_eq!(bans("src/log/wal.rs", "async fn f() {}").len(), 1);
    assert_eq!(bans("src/api/kv.rs", "use openraft::Raft;").len(), 1, "only raft and node name it");
    assert_eq!(bans("src/raft/mod.rs", "use openraft::Raft;"), [""; 0]);
}

#[test]
fn unfinished_work_unbounded_queues_printing_and_unwrap_are_found() {
    for code in
        ["todo!()", "dbg!(x)", "mpsc::unbounded_channel()", "mpsc::channel()", "println!()", "x.unwrap()"]
    {
        assert_eq!(bans("src/node/mod.rs", &format!("fn f() {{ {code}; }}")).len(), 1, "{code}");
    }
    assert_eq!(bans("src/node/mod.rs", concat!("// TO", "DO: later")).len(), 1);
    assert_eq!(bans("src/cli/mod.rs", "fn f() { println!() }"), [""; 0]);
    assert_eq!(bans("src/node/mod.rs", "fn f() { oneshot::channel(); x.unwrap_or(1); }"), [""; 0]);
}

#[test]
fn unwrap_is_allowed_in_tests_but_only_there() {
    let code = "#[cfg(test)]\nmod tests {\n    fn f() { x.unwrap() }\n}\nfn g() { y.unwrap() }\n";
    assert_eq!(bans("src/node/mod.rs", code), ["src/node/mod.rs:5: `.unwrap()` is banned here"]);
    assert_eq!(bans("src/node/tests.rs", code), [""; 0]);
    assert_eq!(bans("tests/it/x.rs", code), [""; 0]);
    assert_eq!(bans("src/node/mod.rs", "#[cfg(test)]\nmod tests;\nfn g() { y.unwrap() }").len(), 1);
}

#[test]
fn too_much_of_anything_is_found() {
    let long_function = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(69));
    assert_eq!(caps(&long_function, &[]), ["src/node/x.rs:1: long: 71 lines, the cap is 70"]);

    let parameters = "fn many<F: Fn(A, B) -> C>(&self, a: Map<A, B>, b: (A, B), c: F, d: D, e: E) {}";
    assert_eq!(caps(parameters, &[]), ["src/node/x.rs:1: many: 5 parameters, the cap is 4"]);
    assert_eq!(caps("fn four(&mut self, a: A, b: Map<A, B>, c: C, d: D,) -> E {}", &[]), [""; 0]);

    let long_line = format!("// {}", "x".repeat(108));
    assert_eq!(caps(&long_line, &[]), ["src/node/x.rs:1: line: 111 characters, the cap is 110"]);

    let long_file = "x\n".repeat(801);
    assert_eq!(caps(&long_file, &[]), ["src/node/x.rs:1: file: 801 lines, the cap is 800"]);
}

#[test]
fn exceptions_may_shrink_but_not_grow_and_go_when_not_needed() {
    let seventy_one = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(69));
    assert_eq!(caps(&seventy_one, &[("src/node/x.rs", "long", 71)]), [""; 0]);
    assert_eq!(caps(&seventy_one, &[("src/node/x.rs", "long", 75)]), [""; 0]);
    let seventy_two = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(70));
    assert_eq!(caps(&seventy_two, &[("src/node/x.rs", "long", 71)]).len(), 2);
    let unneeded = caps("fn short() {}", &[("src/node/x.rs", "short", 90)]);
    assert_eq!(unneeded, ["src/node/x.rs: the exception for short is not needed"]);
}

#[test]
fn literals_that_look_like_code_are_not_code() {
    let code =
        r##"fn f<'a>(x: &'a str) { g('{', '\'', "}\"{", r#"fn z() { " "#, b'"'); /* fn y() { /* { */ */ }"##;
    let functions = Source::new("src/node/x.rs", code).functions();
    assert_eq!(functions.len(), 1);
    assert_eq!((functions[0].name.as_str(), functions[0].lines, functions[0].parameters), ("f", 1, 1));
}

#[test]
fn a_document_with_a_dead_link_or_two_titles_is_found() {
    let here = Path::new(file!());
    let dir = super::root().join(here);
    let text = "# One\n# Two\n[a](samples.rs) [b](nowhere.md#x) [c](https://example.org) [d](#anchor)\n\
        ```\n# code\n```\n";
    let found = markdown::check(&dir, text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("2 titles") && found[1].contains(":3: the link `nowhere.md#x`"), "{found:?}");
    assert_eq!(markdown::check(&dir, "no title").len(), 1);
}
