//! Style and layering as a test: which module may use which, what is banned where, how big things may get.
//!
//! The model: a file is text; comments and literals are blanked (`source`), then simple rules look at what is
//! left
//! (`rules`, `layers`, `markdown`). No type information: an edge is a written `crate::module` path, so
//! a path through `super::` out of a top-level module or through a re-export is not seen.
//! Each rule is also fed bad samples, so that a rule which has stopped looking fails too.

mod layers;
mod markdown;
mod rules;
mod samples;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::source::Source;

/// One thing that is wrong: `path:line: what`.
type Finding = String;

/// The repository's root.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files with extension `ext` under `dir`, in order; build output and hidden directories are left out.
fn files(dir: &Path, ext: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the repository").flatten() {
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if path.is_dir() && !hidden && entry.file_name() != "target" {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == ext) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let sources: Vec<_> = files(&root(), "rs")
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            Source::new(name, fs::read_to_string(path).expect("a readable source file"))
        })
        .collect();
    assert!(sources.len() > 20, "the walk has lost the sources: {} found", sources.len());
    sources
}

/// Fails with all findings, one a line.
fn report(findings: Vec<Finding>) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn layers_use_only_what_the_architecture_allows() {
    report(sources().iter().flat_map(layers::check).collect());
}

#[test]
fn nothing_banned_is_used() {
    report(sources().iter().flat_map(rules::bans).collect());
}

#[test]
fn files_functions_lines_and_parameters_stay_within_the_caps() {
    report(rules::caps(&sources()));
}

#[test]
fn documents_have_one_title_and_links_that_lead_somewhere() {
    let findings = files(&root(), "md")
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).expect("a readable document");
            markdown::check(path, &text)
        })
        .collect();
    report(findings);
}
