use super::*;
use crate::cli::scope;

fn args(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn said(line: &str) -> String {
    one_line(&scope::read(args(line)).expect_err(line))
}

#[test]
fn json_is_found_among_arguments_that_make_no_sense() {
    for line in ["quorate gett -o json", "quorate -ojson x", "quorate --output json", "quorate --output=json"]
    {
        assert!(wants_json(&args(line)), "{line}");
    }
    for line in ["quorate gett", "quorate put -o table json", "quorate put -- -o json"] {
        assert!(!wants_json(&args(line)), "{line}");
    }
}

#[test]
fn what_is_wrong_fits_on_one_line_with_its_tip() {
    assert_eq!(
        said("quorate gett k"),
        "unrecognized subcommand 'gett'; tip: a similar subcommand exists: 'get'"
    );
    assert_eq!(said("quorate get"), "the following required arguments were not provided: <KEY>");
    assert_eq!(said("quorate"), "no command is given");
    let level = said("quorate get k --consistency perfect");
    assert!(
        level.starts_with("invalid value 'perfect' for '--consistency <LEVEL>' [possible values:"),
        "{level}"
    );
}
