//! The samples of docs/history-format.md are histories, and hold.

use quorate::check::{
    self, Options, Verdict,
    format::{self, Format},
};

/// The fenced blocks of a language.
fn samples(language: &str) -> Vec<String> {
    let text = include_str!("../../../docs/history-format.md");
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or("").to_owned()).collect()
}

#[test]
fn the_samples_are_histories_that_hold() {
    let (own, jepsens) = (samples("json"), samples("clojure"));
    assert_eq!((own.len(), jepsens.len()), (1, 2));
    let own = own.into_iter().map(|sample| (sample, Format::Jsonl));
    // The second of Jepsen's is a part: nobody appends what it reads.
    let jepsens = jepsens.into_iter().take(1).map(|sample| (sample, Format::Edn));
    for (sample, form) in own.chain(jepsens) {
        let history =
            format::read(sample.as_bytes(), form).unwrap_or_else(|error| panic!("{error}: {sample}"));
        let findings = check::check(&history, &Options::default());
        assert_eq!(findings.verdict(), Verdict::Ok, "{:?}", findings.violations);
    }
}
